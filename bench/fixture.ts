// What all comparisons share: a Redis with tokens in it, who calls, and the questions with their right answers.
import {
  ApiTokenServiceService,
  CreateTokenResponse,
  ListTokensResponse,
  RenewTokenResponse,
} from "../gen/apitoken/v1/api_token_service.js";
import {
  InactiveReason,
  Secret,
  TokenVerificationServiceService,
  VerifyTokenResponse,
} from "../gen/apitoken/v1/token_verification_service.js";
import { formatToken, generateSecret, parseToken } from "../src/domain/token-string.js";
import { ask } from "./check.js";
import type { Question } from "./contender.js";
import { FRESH, frame } from "./frames.js";
import type { SameCall } from "./load.js";
import type { Plan } from "./plan.js";
import { type BenchRedis, type Identity, ORGANIZATION, startApitokend } from "./servers.js";
import { markRenewed, markUsed, type NamedToken, names, plantTokens, TOKEN_PREFIX } from "./tokens.js";

export const UNDER_WAY = 100;
/** A hundred batches would be thousands of tokens, more than a busy machine reads within the time limit of a call. */
export const BATCHES_UNDER_WAY = 20;
/** The server runs two lists of one caller at a time. */
const LISTS_UNDER_WAY = 2;
const LARGEST_PAGE = 1000;
const SHORT_LIST = 1000;
const MANY_TOKENS = 10_000;
export const PAGE_SIZE = 50;

export type Fixture = Awaited<ReturnType<typeof createFixture>>;

export async function createFixture(redis: BenchRedis, identity: Identity, plan: Plan) {
  const gateway = await identity.headersOf("gateway-of-acme1");
  const tokens = await plantTokens(redis, ofUser("gateway-of-acme1", plan.isQuick ? 1000 : MANY_TOKENS));
  // As busy tokens are; a reply without the time of its last use would be smaller than those that follow.
  await markUsed(redis, tokens);
  const [good = ""] = tokens;
  const wrong = wrongTokens(good);
  const goodQuestion = verify(gateway, good);
  const server = await startApitokend({ redis, identity });
  try {
    return {
      redis,
      identity,
      gateway,
      tokens,
      redisVersion: /redis_version:(\S+)/.exec(await redis.client.info("server"))?.[1] ?? "unknown",
      good: goodQuestion,
      /** What the floor answers. */
      goodReply: await ask(await goodQuestion.load(server.address), server.address),
      wrongSecret: verify(gateway, wrong.secret, InactiveReason.INACTIVE_REASON_UNKNOWN),
      wrongChecksum: verify(gateway, wrong.checksum, InactiveReason.INACTIVE_REASON_MALFORMED),
      goodWithoutCredential: verify({}, good),
      renew: renew(redis, identity),
      create: create(identity),
      shortList: list(redis, identity, SHORT_LIST),
      longList: list(redis, identity, plan.longList),
      longListLength: plan.longList,
    };
  } finally {
    await server.stop();
  }
}

/** Right: active, or not active for this reason. */
function verify(
  headers: SameCall["headers"],
  token: string,
  reason: InactiveReason = InactiveReason.INACTIVE_REASON_UNSPECIFIED,
): Question {
  const { path, requestSerialize } = TokenVerificationServiceService.verifyToken;
  return {
    load: () => ({ kind: "same", path, headers, underWay: UNDER_WAY, frame: frame(requestSerialize({ token })) }),
    isRight: (reply) => isAnswer(reply, reason),
  };
}

/** Another token each time. */
export function verifyMany(headers: SameCall["headers"], tokens: readonly string[]): Question {
  const { path, requestSerialize } = TokenVerificationServiceService.verifyToken;
  const frames = tokens.map((token) => frame(requestSerialize({ token })));
  return {
    load: () => ({ kind: "many", path, headers, underWay: UNDER_WAY, frames }),
    isRight: (reply) => isAnswer(reply, InactiveReason.INACTIVE_REASON_UNSPECIFIED),
  };
}

function isAnswer(reply: Buffer, reason: InactiveReason): boolean {
  const answer = VerifyTokenResponse.decode(reply);
  const isActive = reason === InactiveReason.INACTIVE_REASON_UNSPECIFIED;
  const isWhole = answer.secret === Secret.SECRET_CURRENT && answer.apiToken?.name.startsWith("token-") === true;
  return answer.active === isActive && answer.reason === reason && (isWhole || !isActive);
}

/** A live token's uid with another secret, and a token whose last character was mistyped. */
function wrongTokens(good: string): { secret: string; checksum: string } {
  const { uid = "" } = parseToken(TOKEN_PREFIX, good) ?? {};
  return {
    secret: formatToken(TOKEN_PREFIX, uid, generateSecret()),
    checksum: good.slice(0, -1) + (good.endsWith("0") ? "1" : "0"),
  };
}

function renew(redis: BenchRedis, identity: Identity): Question {
  const userId = "renewer-of-acme1";
  const { path, requestSerialize, requestDeserialize } = ApiTokenServiceService.renewToken;
  const tokens = ofUser(userId, 1);
  const message = requestSerialize({ ...requestDeserialize(Buffer.alloc(0)), name: tokens[0]?.name ?? "" });
  let planted: Promise<unknown> | undefined;
  let generation = 1;
  return {
    load: async () => {
      planted ??= plantTokens(redis, tokens).then((bearers) => markRenewed(redis, bearers));
      await planted;
      const headers = await identity.headersOf(userId);
      return { kind: "same", path, headers, underWay: UNDER_WAY, frame: frame(message) };
    },
    isRight: (reply) => {
      const { apiToken, token: bearer } = RenewTokenResponse.decode(reply);
      const before = generation;
      generation = Number(apiToken?.generation ?? 0);
      return generation > before && bearer.startsWith("apt_");
    },
  };
}

function create(identity: Identity): Question {
  const userId = "creator-of-acme1";
  const { path, requestSerialize, requestDeserialize } = ApiTokenServiceService.createToken;
  const message = requestSerialize({ ...requestDeserialize(Buffer.alloc(0)), name: `new-${FRESH}` });
  return {
    load: async () => {
      const headers = await identity.headersOf(userId);
      return { kind: "many", path, headers, underWay: UNDER_WAY, frames: [frame(message)] };
    },
    isRight: (reply) => {
      const { apiToken, token: bearer } = CreateTokenResponse.decode(reply);
      return bearer.startsWith("apt_") && apiToken?.userId === userId;
    },
  };
}

/** A page in the middle of so many tokens of one user, which are put there when it is first asked for. */
function list(redis: BenchRedis, identity: Identity, length: number): Question {
  const userId = `${length}-tokens-user`;
  let planted: Promise<unknown> | undefined;
  return {
    load: async (address) => {
      planted ??= plantTokens(redis, ofUser(userId, length));
      await planted;
      return middlePage(await identity.headersOf(userId), address, length);
    },
    isRight: (reply) => {
      const { apiTokens } = ListTokensResponse.decode(reply);
      return apiTokens.length === PAGE_SIZE && apiTokens.every((token) => token.userId === userId);
    },
  };
}

async function middlePage(headers: SameCall["headers"], address: string, length: number): Promise<SameCall> {
  const { path, requestSerialize } = ApiTokenServiceService.listTokens;
  const page = (pageSize: number, pageToken: string): SameCall => {
    const message = requestSerialize({ pageSize, pageToken, userId: "", expireBefore: undefined });
    return { kind: "same", path, headers, underWay: LISTS_UNDER_WAY, frame: frame(message) };
  };
  let pageToken = "";
  const step = Math.min(LARGEST_PAGE, length / 2);
  for (let at = 0; at < length / 2; at += step) {
    const reply = await ask(page(step, pageToken), address);
    pageToken = ListTokensResponse.decode(reply).nextPageToken;
  }
  return page(PAGE_SIZE, pageToken);
}

function ofUser(userId: string, count: number): NamedToken[] {
  return names("token-", count).map((name) => ({ organizationId: ORGANIZATION, userId, name }));
}
