// The life of a token over the wire: a real client, a real server on port 0, a real Redis.
import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { InactiveReason, Secret } from "../../gen/apitoken/v1/token_verification_service.js";
import type { Principal } from "../../src/domain/access.js";
import { encodePageToken } from "../../src/domain/page-token.js";
import { eventually, type Service, startService } from "../harness.js";

let service: Service;
beforeAll(async () => {
  service = await startService({ MAX_TOKENS_PER_USER: "5" });
});
beforeEach(() => service.redis.client.flushall());
afterAll(() => service.stop());

const seconds = (count: number) => ({ seconds: BigInt(count), nanos: 0 });
const verify = async (token: string) => service.verification.verifyToken({ token });

function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("a field that must be set is not");
  return value;
}

function ms(time: { seconds: bigint; nanos: number } | undefined): number {
  const { seconds: whole, nanos } = required(time);
  return Number(whole) * 1000 + nanos / 1_000_000;
}

test("a created token has every field of the contract, lives for exactly 90 days, and verifies", async () => {
  const { apiToken, token, replayed } = await service.tokens.createToken({ name: "my_token" });
  const created = required(apiToken);
  expect(created).toMatchObject({ organizationId: "dev", userId: "dev", name: "my_token", role: "", generation: 1n });
  expect(created.uid).toMatch(/^[0-9A-Za-z]{28}$/);
  expect(created.etag).not.toBe("");
  expect(created.ttl).toEqual(seconds(7_776_000));
  expect(ms(created.expireTime) - ms(created.createTime)).toBe(7_776_000_000);
  expect(Math.abs(ms(created.createTime) - Date.now())).toBeLessThan(5000);
  expect([created.lastUsedTime, created.previousSecretExpireTime, replayed]).toEqual([undefined, undefined, false]);
  expect(token).toMatch(/^apt_[0-9A-Za-z]{78}$/);
  expect(await verify(token)).toEqual({
    active: true,
    apiToken: created,
    secret: Secret.SECRET_CURRENT,
    reason: InactiveReason.INACTIVE_REASON_UNSPECIFIED,
    expiresIn: seconds(7_775_999),
  });
});

test("a verification tells for how long the presented secret works, by the store's clock, whatever the clock of who asks", async () => {
  const first = await service.tokens.createToken({ name: "my_token", ttl: seconds(3600) });
  const { results } = await service.verification.verifyTokens({ tokens: [first.token, "no token"] });
  expect(results.map(({ expiresIn }) => expiresIn)).toEqual([seconds(3599), undefined]);
  const second = await service.tokens.renewToken({ name: "my_token", gracePeriod: seconds(60) });
  expect((await verify(first.token)).expiresIn).toEqual(seconds(59));
  expect((await verify(second.token)).expiresIn).toEqual(seconds(3599));
  // As if half of the time had passed.
  const [key = ""] = await service.redis.client.keys("apitoken:*:t:*");
  await service.redis.client.hincrby(key, "c", -1_800_000);
  expect((await verify(second.token)).expiresIn).toEqual(seconds(1799));
  await service.redis.client.hincrby(key, "c", -1_800_001);
  expect((await verify(second.token)).expiresIn).toEqual(seconds(0));
});

test("a renewal ends the old secret at once and starts the new one", async () => {
  const created = await service.tokens.createToken({ name: "my_token", role: "reader", ttl: seconds(3600) });
  const renewed = await service.tokens.renewToken({ name: "my_token" });
  const [before, after] = [required(created.apiToken), required(renewed.apiToken)];
  expect(after).toMatchObject({
    uid: before.uid,
    name: "my_token",
    role: "reader",
    ttl: seconds(3600),
    generation: 2n,
  });
  expect(after.etag).not.toBe(before.etag);
  expect(renewed.token).not.toBe(created.token);
  expect(await verify(created.token)).toEqual({
    active: false,
    apiToken: undefined,
    secret: Secret.SECRET_UNSPECIFIED,
    reason: InactiveReason.INACTIVE_REASON_SUPERSEDED,
    expiresIn: undefined,
  });
  expect(await verify(renewed.token)).toMatchObject({ active: true, apiToken: after });
});

test("with a grace period generations n and n-1 work, and no older one", async () => {
  const first = await service.tokens.createToken({ name: "my_token" });
  const second = await service.tokens.renewToken({ name: "my_token", gracePeriod: seconds(3600) });
  expect(await verify(first.token)).toMatchObject({ active: true, secret: Secret.SECRET_PREVIOUS });
  expect(ms(second.apiToken?.previousSecretExpireTime) - ms(second.apiToken?.createTime)).toBe(3_600_000);
  const third = await service.tokens.renewToken({ name: "my_token", gracePeriod: seconds(3600) });
  expect(await verify(first.token)).toMatchObject({ active: false, reason: InactiveReason.INACTIVE_REASON_UNKNOWN });
  expect(await verify(second.token)).toMatchObject({ active: true, secret: Secret.SECRET_PREVIOUS });
  expect(await verify(third.token)).toMatchObject({ active: true, secret: Secret.SECRET_CURRENT });
  await service.tokens.renewToken({ name: "my_token" });
  for (const { token, reason } of [
    { token: second.token, reason: InactiveReason.INACTIVE_REASON_UNKNOWN },
    { token: third.token, reason: InactiveReason.INACTIVE_REASON_SUPERSEDED },
  ]) {
    expect(await verify(token)).toMatchObject({ active: false, reason });
  }
});

test("a revoked token is UNKNOWN and gone, and its name can be taken again by a new token", async () => {
  const created = await service.tokens.createToken({ name: "my_token" });
  const { apiToken } = await service.tokens.revokeToken({ name: "my_token" });
  expect(apiToken).toEqual(created.apiToken);
  expect(await verify(created.token)).toMatchObject({ reason: InactiveReason.INACTIVE_REASON_UNKNOWN });
  await expect(service.tokens.getToken({ name: "my_token" })).rejects.toMatchObject({ reason: "TOKEN_NOT_FOUND" });
  const again = await service.tokens.createToken({ name: "my_token" });
  expect(again.apiToken?.uid).not.toBe(created.apiToken?.uid);
});

test("the first use shows within 2 seconds, and a renewal clears it", async () => {
  const { token } = await service.tokens.createToken({ name: "my_token" });
  const usedMs = Date.now();
  await verify(token);
  const { apiToken } = await eventually(async () => {
    const read = await service.tokens.getToken({ name: "my_token" });
    expect(read.apiToken?.lastUsedTime).toBeDefined();
    return read;
  }, 2000);
  expect(ms(apiToken?.lastUsedTime) - usedMs).toBeLessThan(2000);
  const renewed = await service.tokens.renewToken({ name: "my_token", gracePeriod: seconds(60) });
  expect(renewed.apiToken?.lastUsedTime).toBeUndefined();
  await verify(token);
  expect((await service.tokens.getToken({ name: "my_token" })).apiToken?.lastUsedTime).toBeUndefined();
});

test("a retry with the same request_id gets the same token string, until its first use", async () => {
  const request = { name: "my_token", requestId: crypto.randomUUID() };
  const created = await service.tokens.createToken(request);
  expect(await service.tokens.createToken(request)).toEqual({ ...created, replayed: true });
  const upperCase = { ...request, requestId: request.requestId.toUpperCase() };
  expect(await service.tokens.createToken(upperCase)).toEqual({ ...created, replayed: true });

  const renewal = { name: "my_token", requestId: crypto.randomUUID(), etag: created.apiToken?.etag ?? "" };
  const renewed = await service.tokens.renewToken(renewal);
  expect(await service.tokens.renewToken(renewal)).toEqual({ ...renewed, replayed: true });
  await verify(renewed.token);
  await eventually(async () => {
    await expect(service.tokens.renewToken(renewal)).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      reason: "REPLAY_EXPIRED",
      message: "request_id was used before and its answer can no longer be replayed",
    });
  });
  expect(await verify(renewed.token)).toMatchObject({ active: true });
});

test("a request_id with other fields is refused, field by field", async () => {
  const request = { name: "my_token", role: "a", requestId: crypto.randomUUID() };
  await service.tokens.createToken(request);
  const reused = {
    code: "INVALID_ARGUMENT",
    reason: "REQUEST_ID_REUSED",
    sqlState: "3D008",
    violations: ["request_id: request_id was used before with other fields"],
  };
  for (const other of [{ role: "b" }, { name: "other" }, { ttl: seconds(60) }]) {
    await expect(service.tokens.createToken({ ...request, ...other })).rejects.toMatchObject(reused);
  }
  await expect(service.tokens.renewToken({ name: "my_token", requestId: request.requestId })).rejects.toMatchObject(
    reused,
  );
  const inUse = await service.tokens.createToken(request, { user: "bob" });
  expect(inUse.replayed).toBe(false);
});

test("32 parallel retries of one renewal renew once and all get the one secret", async () => {
  await service.tokens.createToken({ name: "my_token" });
  const request = { name: "my_token", requestId: crypto.randomUUID() };
  const answers = await Promise.all(Array.from({ length: 32 }, () => service.tokens.renewToken(request)));
  expect(new Set(answers.map(({ token }) => token)).size).toBe(1);
  expect(answers.filter(({ replayed }) => !replayed)).toHaveLength(1);
  expect(new Set(answers.map(({ apiToken }) => apiToken?.generation))).toEqual(new Set([2n]));
});

test("users do not see each other's tokens; an organization administrator sees all of the organization", async () => {
  const alice = { organization: "acme", user: "alice" };
  const bob = { organization: "acme", user: "bob" };
  const admin = { organization: "acme", user: "root", admin: true };
  const stranger = { organization: "other", user: "root", admin: true };
  await service.tokens.createToken({ name: "a" }, alice);
  await service.tokens.createToken({ name: "b" }, bob);
  await service.tokens.createToken({ name: "c" }, stranger);

  const names = async (as: typeof admin, userId = "") =>
    (await service.tokens.listTokens({ userId }, as)).apiTokens.map((token) => `${token.userId}/${token.name}`);
  expect(await names({ ...alice, admin: false })).toEqual(["alice/a"]);
  expect(await names(admin, "-")).toEqual(["alice/a", "bob/b"]);
  expect(await names(admin, "bob")).toEqual(["bob/b"]);
  expect(await names(stranger, "-")).toEqual(["root/c"]);

  const invisible = {
    code: "NOT_FOUND",
    reason: "TOKEN_NOT_FOUND",
    message: "the token does not exist or has expired",
  };
  const target = { name: "b", userId: "bob" };
  for (const as of [alice, stranger]) {
    await expect(service.tokens.getToken(target, as)).rejects.toMatchObject(invisible);
    await expect(service.tokens.renewToken(target, as)).rejects.toMatchObject(invisible);
    await expect(service.tokens.revokeToken(target, as)).rejects.toMatchObject(invisible);
  }
  for (const userId of ["bob", "-"]) {
    await expect(service.tokens.listTokens({ userId }, alice)).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
  }
  expect((await service.tokens.renewToken(target, admin)).apiToken?.userId).toBe("bob");
  expect((await service.tokens.revokeToken(target, admin)).apiToken?.name).toBe("b");
});

test("pages follow each other without gap or repeat, and refuse another query or caller", async () => {
  for (const name of ["a", "b", "c", "d", "e"]) await service.tokens.createToken({ name });
  const seen: string[] = [];
  let pageToken = "";
  do {
    const page = await service.tokens.listTokens({ pageSize: 2, pageToken });
    seen.push(...page.apiTokens.map(({ name }) => name));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  expect(seen).toEqual(["a", "b", "c", "d", "e"]);

  const { nextPageToken } = await service.tokens.listTokens({ pageSize: 2 });
  const refused = {
    code: "INVALID_ARGUMENT",
    violations: ["page_token: is not a page token of this query and caller"],
  };
  const admin = { admin: true };
  await expect(service.tokens.listTokens({ pageToken: nextPageToken }, { user: "bob" })).rejects.toMatchObject(refused);
  await expect(service.tokens.listTokens({ pageToken: nextPageToken, userId: "-" }, admin)).rejects.toMatchObject(
    refused,
  );
  for (const cut of [1, 10, nextPageToken.length - 1]) {
    await expect(service.tokens.listTokens({ pageToken: nextPageToken.slice(0, cut) })).rejects.toMatchObject(refused);
  }
  const other = await service.tokens.listTokens({ pageToken: nextPageToken, pageSize: 1 });
  expect(other.apiTokens.map(({ name }) => name)).toEqual(["c"]);
});

test("expire_before lists only what expires before it, and its pages go on only with the same instant", async () => {
  const days = (count: number) => seconds(count * 86_400);
  for (const [name, ttl] of Object.entries({ a: 5, b: 90, c: 6, d: 30, e: 7 })) {
    await service.tokens.createToken({ name, ttl: days(ttl) });
  }
  const { apiToken } = await service.tokens.getToken({ name: "e" });
  const expireBefore = required(apiToken?.expireTime);
  const list = async (request: object) => service.tokens.listTokens({ pageSize: 1, expireBefore, ...request });
  const first = await list({});
  expect(first.apiTokens.map(({ name }) => name)).toEqual(["a"]);
  const second = await list({ pageToken: first.nextPageToken });
  expect(second.apiTokens.map(({ name }) => name)).toEqual(["c"]);
  expect(second.nextPageToken).toBe("");
  const later = await list({ pageSize: 0, expireBefore: { ...expireBefore, nanos: expireBefore.nanos + 1 } });
  expect(later.apiTokens.map(({ name }) => name)).toEqual(["a", "c", "e"]);

  const everything = await service.tokens.listTokens({ pageSize: 1 });
  for (const request of [
    { pageToken: first.nextPageToken, expireBefore: undefined },
    { pageToken: first.nextPageToken, expireBefore: { ...expireBefore, seconds: expireBefore.seconds + 1n } },
    { pageToken: everything.nextPageToken },
  ]) {
    await expect(list(request)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      violations: ["page_token: is not a page token of this query and caller"],
    });
  }
  await expect(list({ pageSize: -1, expireBefore: { seconds: 2n ** 60n, nanos: 0 } })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    reason: "INVALID_FIELD",
    sqlState: "3D008",
    violations: ["page_size: must not be negative", "expire_before: must be in the years 1 to 9999"],
  });
});

test("a page token that was made up by its bearer shows nobody else's tokens", async () => {
  const bob = { organization: "acme", user: "bob" };
  await service.tokens.createToken({ name: "payroll" }, { organization: "acme", user: "alice" });
  await service.tokens.createToken({ name: "b" }, bob);
  for (const position of [["", ""], ["alice", ""], ["bob\0x", "y"], ["zoe", ""], ["bob"], ["bob", "b", "c"]]) {
    // The digest is not secret: anybody can compute a well-formed token.
    const caller = { organizationId: "acme", userId: "bob" };
    const pageToken = encodePageToken(caller as Principal, ["ListTokens", "bob"], position);
    await expect(service.tokens.listTokens({ pageToken }, bob)).rejects.toMatchObject({
      violations: ["page_token: is not a page token of this query and caller"],
    });
  }
});

test("the quota refuses the sixth token with a QuotaFailure", async () => {
  for (const name of ["a", "b", "c", "d", "e"]) await service.tokens.createToken({ name });
  await expect(service.tokens.createToken({ name: "f" })).rejects.toMatchObject({
    code: "RESOURCE_EXHAUSTED",
    reason: "TOKEN_LIMIT_EXCEEDED",
    sqlState: "53000",
    message: "the user has as many tokens as are allowed",
    detailTypes: ["ErrorInfo", "QuotaFailure"],
  });
});
