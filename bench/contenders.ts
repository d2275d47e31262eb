// Who is compared with whom: groups of servers that run side by side, each beside two processes of the floor.
import {
  TokenVerificationServiceService,
  VerifyTokensResponse,
} from "../gen/apitoken/v1/token_verification_service.js";
import { type Contender, FLOOR, FLOOR_AGAIN, type Group, type Question } from "./contender.js";
import { BATCHES_UNDER_WAY, type Fixture, verifyMany } from "./fixture.js";
import { frame } from "./frames.js";
import type { Part } from "./goals.js";
import { BOTH, SERVERS } from "./processes.js";
import { type Rivals, rivalContenders } from "./rivals.js";
import { type ApitokendOptions, type BenchRedis, startApitokend, startBareHttp2, startFloor } from "./servers.js";

export function comparisons(fixture: Fixture): Group[] {
  const { good, wrongSecret, wrongChecksum, goodWithoutCredential, renew, create, shortList, longList } = fixture;
  const ours = (id: string, title: string, question: Question) => service(fixture, id, title, question, {});
  return [
    group(fixture, "verification", [
      ours("verify", "VerifyToken, good token", good),
      ours("verify-wrong-secret", "VerifyToken, wrong secret", wrongSecret),
      ours("verify-wrong-checksum", "VerifyToken, wrong checksum", wrongChecksum),
    ]),
    group(fixture, "stack", [
      { ...floor(fixture, "bare-http2", "no-op on bare node:http2"), start: () => startBareHttp2(fixture.goodReply) },
      {
        ...floor(fixture, "bare-http2-redis", "no-op on bare node:http2 that reads the token from Redis"),
        start: () => startBareHttp2(fixture.goodReply, { redis: fixture.redis, token: fixture.tokens[0] ?? "" }),
      },
      {
        ...floor(fixture, "floor-messages", "no-op that decodes and encodes our messages"),
        start: () => startFloor("messages", fixture.goodReply),
      },
      service(
        fixture,
        "verify-development",
        "VerifyToken, good token, caller not authenticated",
        goodWithoutCredential,
        {
          identity: undefined,
        },
      ),
    ]),
    group(fixture, "batches", [batch(fixture, 10), batch(fixture, 50)]),
    group(fixture, "changes", [ours("renew", "RenewToken", renew), ours("create", "CreateToken", create)]),
    group(fixture, "lists", [
      ours("list-short", "ListTokens, 50 out of 1,000 of one user", shortList),
      ours("list-long", `ListTokens, 50 out of ${longListName(fixture)} of one user`, longList),
    ]),
    group(fixture, "workers", [workers(fixture, 1, SERVERS), workers(fixture, 2, BOTH)]),
  ];
}

/**
 * VerifyToken on a Redis with few tokens and on one with many; the CPU time of each Redis counts as well. All of them count
 * as used, for otherwise more tokens would be more first uses.
 */
export function sizes(
  fixture: Fixture,
  redises: readonly { id: string; redis: BenchRedis; tokens: readonly string[]; title: string }[],
): Group {
  return group(
    fixture,
    "size",
    redises.map(({ id, redis, tokens, title }) => ({
      ...service(fixture, id, title, verifyMany(fixture.gateway, tokens), { redis, lastUsedResolution: "1d" }),
      pidsBeside: [redis.pid],
    })),
  );
}

export function rivalGroup(fixture: Fixture, rivals: Rivals): Group {
  const beside = service(
    fixture,
    "verify-beside-rivals",
    "VerifyToken, good token, beside the rivals",
    fixture.good,
    {},
  );
  return group(fixture, "rivals", [beside, ...rivalContenders(rivals, fixture.redis)]);
}

function batch(fixture: Fixture, size: number): Contender {
  const { path, requestSerialize } = TokenVerificationServiceService.verifyTokens;
  const message = requestSerialize({ tokens: fixture.tokens.slice(0, size) });
  const question: Question = {
    load: () => ({ kind: "same", path, headers: fixture.gateway, underWay: BATCHES_UNDER_WAY, frame: frame(message) }),
    isRight: (reply) => {
      const { results } = VerifyTokensResponse.decode(reply);
      return results.length === size && results.every(({ active }) => active);
    },
  };
  return {
    ...service(fixture, `verify-${size}`, `VerifyTokens of ${size}, per token`, question, {}),
    answersPerCall: size,
  };
}

function workers(fixture: Fixture, count: number, cores: string): Contender {
  const title = `VerifyToken, WORKERS=${count} on ${count === 1 ? "one core" : "two cores"}`;
  return service(fixture, `workers-${count}`, title, fixture.good, { workers: count, cores });
}

function group(fixture: Fixture, name: Part, contenders: readonly Contender[]): Group {
  const title = "no-op on grpc-js";
  const twice = [floor(fixture, FLOOR, title), floor(fixture, FLOOR_AGAIN, `${title}, again`)];
  return { name, contenders: [...twice, ...contenders] };
}

function floor({ good, goodReply }: Fixture, id: string, title: string): Contender {
  return {
    id,
    title,
    start: () => startFloor("bytes", goodReply),
    load: good.load,
    isRight: (reply) => reply.equals(goodReply),
  };
}

function service(
  { redis, identity }: Fixture,
  id: string,
  title: string,
  { load, isRight }: Question,
  options: Partial<ApitokendOptions>,
): Contender {
  return { id, title, start: () => startApitokend({ redis, identity, ...options }), load, isRight };
}

function longListName({ longListLength }: Fixture): string {
  return longListLength.toLocaleString("en");
}
