// Every change is on record with who made it, also when the token is long gone; a superseded secret's use is, too.
import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { type TokenEvent, TokenEventKind } from "../../gen/apitoken/v1/api_token.js";
import { InactiveReason } from "../../gen/apitoken/v1/token_verification_service.js";
import type { Principal } from "../../src/domain/access.js";
import { encodePageToken } from "../../src/domain/page-token.js";
import { eventually, type Service, startService } from "../harness.js";

let service: Service;
beforeAll(async () => {
  service = await startService();
});
beforeEach(() => service.redis.client.flushall());
afterAll(() => service.stop());

const KINDS = ["-", "created", "renewed", "revoked", "superseded_use"];
const told = ({ kind, name, generation, actor }: TokenEvent) => `${KINDS[kind]} ${name} ${generation} ${actor}`;

test("each acknowledged change leaves one event with its caller, newest first, which outlives the token", async () => {
  const created = await service.tokens.createToken({ name: "my_token" });
  await service.tokens.renewToken({ name: "my_token" });
  const admin = { user: "root", admin: true };
  await service.tokens.revokeToken({ name: "my_token", userId: "dev" }, admin);
  const { events } = await service.tokens.listTokenEvents({ name: "my_token" });
  expect(events.map(told)).toEqual([
    "revoked my_token 2 user:root",
    "renewed my_token 2 user:dev",
    "created my_token 1 user:dev",
  ]);
  const uid = created.apiToken?.uid ?? "";
  expect(new Set(events.map((event) => event.uid))).toEqual(new Set([uid]));
  expect(events[0]).toMatchObject({
    organizationId: "dev",
    userId: "dev",
    kind: TokenEventKind.TOKEN_EVENT_KIND_REVOKED,
  });
  const createTime = created.apiToken?.createTime;
  const eventTime = events[2]?.eventTime;
  expect(Math.abs(Number((eventTime?.seconds ?? 0n) - (createTime?.seconds ?? 0n)))).toBeLessThanOrEqual(1);
  expect((await service.tokens.listTokenEvents({ uid })).events).toEqual(events);
});

test("a refused or replayed call leaves none", async () => {
  const requestId = crypto.randomUUID();
  await service.tokens.createToken({ name: "a", requestId });
  await service.tokens.createToken({ name: "a", requestId });
  await service.tokens.createToken({ name: "a" }).catch(() => {});
  await service.tokens.renewToken({ name: "a", etag: "old" }).catch(() => {});
  await service.tokens.renewToken({ name: "none" }).catch(() => {});
  await service.tokens.revokeToken({ name: "none" }).catch(() => {});
  expect((await service.tokens.listTokenEvents({})).events.map(told)).toEqual(["created a 1 user:dev"]);
});

test("events are listed by name, by uid, of one user or of all, page by page", async () => {
  const uids: string[] = [];
  for (const user of ["alice", "bob"]) {
    for (const name of ["a", "b", "a:b"]) {
      uids.push((await service.tokens.createToken({ name }, { user })).apiToken?.uid ?? "");
      await service.tokens.revokeToken({ name }, { user });
    }
  }
  const alice = { user: "alice" };
  const admin = { user: "root", admin: true };
  const list = async (request: object, as: object) =>
    (await service.tokens.listTokenEvents(request, as)).events.map(({ userId, name }) => `${userId}/${name}`);
  expect(await list({}, alice)).toEqual(["alice/a:b", "alice/a:b", "alice/b", "alice/b", "alice/a", "alice/a"]);
  expect(await list({ name: "a" }, alice)).toEqual(["alice/a", "alice/a"]);
  expect(await list({ name: "a", userId: "-" }, admin)).toEqual(["bob/a", "bob/a", "alice/a", "alice/a"]);
  expect(await list({ uid: uids[3] }, { user: "bob" })).toEqual(["bob/a", "bob/a"]);
  expect(await list({ uid: uids[3] }, alice)).toEqual([]);
  expect(await list({ uid: "0".repeat(28), userId: "-" }, admin)).toEqual([]);
  expect(await list({ userId: "-" }, { ...admin, organization: "other" })).toEqual([]);

  const seen: string[] = [];
  let pageToken = "";
  do {
    const page = await service.tokens.listTokenEvents({ userId: "-", pageSize: 5, pageToken }, admin);
    expect(page.events.length).toBeLessThanOrEqual(5);
    seen.push(...page.events.map(({ uid, kind }) => `${uid} ${kind}`));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  expect(seen).toHaveLength(12);
  expect(new Set(seen).size).toBe(12);
});

test("pages of another query or caller, and wrong filters, are refused", async () => {
  for (const name of ["a", "b", "c"]) await service.tokens.createToken({ name });
  const { nextPageToken } = await service.tokens.listTokenEvents({ pageSize: 1 });
  const refused = {
    code: "INVALID_ARGUMENT",
    violations: ["page_token: is not a page token of this query and caller"],
  };
  const others = [
    service.tokens.listTokenEvents({ pageToken: nextPageToken, name: "a" }),
    service.tokens.listTokenEvents({ pageToken: nextPageToken }, { user: "bob" }),
    service.tokens.listTokenEvents({ pageToken: nextPageToken.slice(0, -1) }),
    service.tokens.listTokens({ pageToken: nextPageToken }),
  ];
  for (const other of others) await expect(other).rejects.toMatchObject(refused);
  await expect(service.tokens.listTokenEvents({ name: "a", uid: "x", pageSize: -1 })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    reason: "INVALID_FIELD",
    violations: [
      "uid: must not be given together with name",
      "uid: must be 28 letters and digits",
      "page_size: must not be negative",
    ],
  });
});

test("a page token that was made up to begin before all events is refused", async () => {
  const caller = { organizationId: "dev", userId: "dev" } as Principal;
  for (const position of [["0-0"], ["00-000"], ["1"], ["x-1"], ["1-1", "2"], ["99999999999999999999-1"]]) {
    const pageToken = encodePageToken(caller, ["ListTokenEvents", "dev", "", ""], position);
    await expect(service.tokens.listTokenEvents({ pageToken })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  }
  const latest = encodePageToken(caller, ["ListTokenEvents", "dev", "", ""], ["9999999999999999999-0"]);
  await service.tokens.createToken({ name: "a" });
  expect((await service.tokens.listTokenEvents({ pageToken: latest })).events).toHaveLength(1);
});

test("the use of a superseded secret is told to its owner, at most once a minute, and changes nothing", async () => {
  const old = await service.tokens.createToken({ name: "my_token" });
  const renewed = await service.tokens.renewToken({ name: "my_token" });
  const gateway = { user: "gateway" };
  for (let i = 0; i < 5; i += 1) {
    const answer = await service.verification.verifyToken({ token: old.token }, gateway);
    expect(answer).toMatchObject({ active: false, reason: InactiveReason.INACTIVE_REASON_SUPERSEDED });
  }
  await eventually(async () => {
    const { events } = await service.tokens.listTokenEvents({ name: "my_token" });
    expect(events.map(told)).toEqual([
      "superseded_use my_token 2 user:gateway",
      "renewed my_token 2 user:dev",
      "created my_token 1 user:dev",
    ]);
  });
  const { apiToken } = await service.tokens.getToken({ name: "my_token" });
  expect(apiToken).toEqual(renewed.apiToken);
  expect(await service.verification.verifyToken({ token: renewed.token })).toMatchObject({ active: true });
});
