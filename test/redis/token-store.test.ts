// The promises of the token store (src/domain/token-store.ts), kept by the one on Redis.
import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals";
import type { Replay } from "../../src/domain/replay.js";
import { etagOf, expireTimeMs } from "../../src/domain/token.js";
import type { CreateCommand, RenewCommand } from "../../src/domain/token-store.js";
import { generateUid, hashSecret, organizationTag, randomText, splitUid } from "../../src/domain/token-string.js";
import { receiptKey, tokenKey } from "../../src/redis/layout.js";
import { RedisTokenStore } from "../../src/redis/redis-token-store.js";
import { eventually, startRedis } from "../harness.js";

const ORGANIZATION = "acme";
const TAG = organizationTag(ORGANIZATION);
const alice = { organizationId: ORGANIZATION, userId: "alice" };

let redis: Awaited<ReturnType<typeof startRedis>>;
let store: RedisTokenStore;
beforeAll(async () => {
  redis = await startRedis();
});
beforeEach(async () => {
  await redis.client.flushall();
  store = new RedisTokenStore(redis.connection, { lastUsedResolutionMs: 60_000, eventRetentionMs: 86_400_000 });
});
afterAll(() => redis.stop());

function create(overrides: Partial<CreateCommand> = {}) {
  return store.create({
    ...alice,
    actor: "user:alice",
    uid: generateUid(ORGANIZATION),
    name: "my_token",
    role: "",
    ttlMs: 3_600_000,
    secretHash: hashSecret("first"),
    replay: undefined,
    maxTokensPerUser: 1000,
    ...overrides,
  });
}

function createMany(count: number, overrides: Partial<CreateCommand>, prefix: string) {
  const names = Array.from({ length: count }, (_, i) => `${prefix}${i}`);
  return Promise.all(names.map((name) => createToken({ name, maxTokensPerUser: 10_000, ...overrides })));
}

function renew(overrides: Partial<RenewCommand> = {}) {
  const secretHash = hashSecret(randomText(43));
  return store.renew({
    ...alice,
    actor: "user:alice",
    name: "my_token",
    gracePeriodMs: 0,
    secretHash,
    replay: undefined,
    etag: "",
    ...overrides,
  });
}

/** The token of an answer that must have the outcome. */
function tokenOf<Answer extends { outcome: string }>(answer: Answer, outcome: string) {
  expect(answer.outcome).toBe(outcome);
  return (answer as unknown as { token: Awaited<ReturnType<typeof createToken>> }).token;
}

async function createToken(overrides: Partial<CreateCommand> = {}) {
  const answer = await create(overrides);
  if (answer.outcome !== "created") throw new Error(`created, not ${answer.outcome}`);
  return answer.token;
}

function replay(overrides: Partial<Replay> = {}): Replay {
  return { requestHash: "request-1", fingerprint: "fields-1", sealedSecret: "sealed-1", ...overrides };
}

async function keys(pattern: string): Promise<string[]> {
  return (await redis.client.keys(pattern)).sort();
}

test("a created token is read by name, by uid and in the list, and its key expires exactly at create_time + ttl", async () => {
  const token = await createToken({ role: "reader" });
  expect(token).toMatchObject({ ...alice, name: "my_token", role: "reader", ttlMs: 3_600_000, generation: 1 });
  expect(token.lastUsedTimeMs).toBeUndefined();
  expect(await store.get(alice, "my_token")).toEqual(token);
  expect(await stored(token.uid)).toEqual(token);
  expect(
    (await store.list({ organizationId: ORGANIZATION, userId: "alice", after: undefined, limit: 10 })).tokens,
  ).toEqual([token]);
  expect(await redis.client.pexpiretime(tokenKey(splitUid(token.uid)))).toBe(expireTimeMs(token));
});

test("every key has a TTL after every kind of mutation, and no key holds user text", async () => {
  await createToken({ name: "secret-name" });
  await createToken({ name: "other", replay: replay() });
  await renew({ name: "other", gracePeriodMs: 60_000 });
  await store.revoke({ ...alice, actor: "user:alice", name: "secret-name", etag: "" });
  const all = await keys("*");
  expect(all.length).toBeGreaterThanOrEqual(5);
  for (const key of all) {
    expect(await redis.client.pttl(key)).toBeGreaterThan(0);
    expect(key).toMatch(
      /^apitoken:\{[0-9A-Za-z]{16}\}:(?:index|events|(?:t|superseded):[0-9A-Za-z]{12}|receipt:[\w-]+)$/,
    );
  }
});

test("the index lives as long as its longest-lived token", async () => {
  const long = await createToken({ name: "long", ttlMs: 7_200_000 });
  await createToken({ name: "short", ttlMs: 60_000 });
  expect(await redis.client.pexpiretime(`apitoken:{${TAG}}:index`)).toBe(expireTimeMs(long));
});

test("names are taken per user, exactly, and free again after a revocation", async () => {
  await createToken();
  expect((await create()).outcome).toBe("exists");
  await createToken({ userId: "bob" });
  await createToken({ name: "MY_TOKEN" });
  await createToken({ organizationId: "other", uid: generateUid("other") });
  tokenOf(await store.revoke({ ...alice, actor: "user:alice", name: "my_token", etag: "" }), "revoked");
  await createToken();
});

test("a name that begins another name, or looks like a key or a pattern, names only itself", async () => {
  const names = ["a", "a:b{c}", "__proto__", "a b", "a*", "[a", "(a", "+", "ab"];
  for (const name of names) await createToken({ name });
  for (const name of names) expect((await store.get(alice, name))?.name).toBe(name);
  const revoked = await store.revoke({ ...alice, actor: "user:alice", name: "a", etag: "" });
  expect(tokenOf(revoked, "revoked").name).toBe("a");
  expect(await store.get(alice, "a")).toBeUndefined();
  expect((await store.get(alice, "ab"))?.name).toBe("ab");
});

test("a renewal keeps uid, name, role, owner and ttl, and restarts the lifetime", async () => {
  const before = await createToken({ role: "reader" });
  store.recordUse(await reading(before.uid));
  await eventually(async () => expect((await stored(before.uid)).lastUsedTimeMs).toBeDefined());
  const after = tokenOf(await renew(), "renewed");
  const { uid, name, role, organizationId, userId, ttlMs } = before;
  expect(after).toMatchObject({ uid, name, role, organizationId, userId, ttlMs, generation: 2 });
  expect(after.createTimeMs).toBeGreaterThanOrEqual(before.createTimeMs);
  expect(after.lastUsedTimeMs).toBeUndefined();
  expect(await redis.client.pexpiretime(tokenKey(splitUid(uid)))).toBe(expireTimeMs(after));
});

test("64 parallel renewals leave exactly one secret alive and generation + 64", async () => {
  const { uid } = await createToken();
  const hashes = Array.from({ length: 64 }, (_, i) => hashSecret(`secret-${i}`));
  const answers = await Promise.all(hashes.map((secretHash) => renew({ secretHash })));
  const generations = answers.map((answer) => tokenOf(answer, "renewed").generation);
  expect(generations.sort((a, b) => a - b)).toEqual(Array.from({ length: 64 }, (_, i) => i + 2));
  const token = await stored(uid);
  expect(token.generation).toBe(65);
  expect(hashes.filter((hash) => hash === token.secretHash)).toHaveLength(1);
});

test("of 64 parallel renewals with one etag exactly one happens", async () => {
  const { uid, ...token } = await createToken();
  const etag = etagOf({ uid, ...token });
  const outcomes = (await Promise.all(Array.from({ length: 64 }, () => renew({ etag })))).map(({ outcome }) => outcome);
  expect(outcomes.filter((outcome) => outcome === "renewed")).toHaveLength(1);
  expect(outcomes.filter((outcome) => outcome === "conflict")).toHaveLength(63);
  expect((await stored(uid)).generation).toBe(2);
});

test("an etag from before a renewal, or of a dropped token of the same name, changes nothing", async () => {
  const old = etagOf(await createToken());
  expect((await renew({ etag: old })).outcome).toBe("renewed");
  expect((await renew({ etag: old })).outcome).toBe("conflict");
  expect((await store.revoke({ ...alice, actor: "user:alice", name: "my_token", etag: old })).outcome).toBe("conflict");
  await store.revoke({ ...alice, actor: "user:alice", name: "my_token", etag: "" });
  const again = await createToken();
  expect((await renew({ etag: old })).outcome).toBe("conflict");
  expect(await store.get(alice, "my_token")).toEqual(again);
});

test("the last use leaves the etag as it is", async () => {
  const token = await createToken();
  store.recordUse(await reading(token.uid));
  await eventually(async () => expect((await stored(token.uid)).lastUsedTimeMs).toBeDefined());
  expect(etagOf(await stored(token.uid))).toBe(etagOf(token));
});

test("with a grace period the immediate predecessor is kept until min(now + grace, its own expiry)", async () => {
  const first = await createToken({ ttlMs: 60_000, secretHash: hashSecret("1") });
  const second = tokenOf(await renew({ secretHash: hashSecret("2"), gracePeriodMs: 10_000 }), "renewed");
  expect(second.previousSecretExpireTimeMs).toBe(second.createTimeMs + 10_000);
  const third = tokenOf(await renew({ secretHash: hashSecret("3"), gracePeriodMs: 600_000 }), "renewed");
  expect(third.previousSecretExpireTimeMs).toBe(expireTimeMs(second));
  expect(await stored(first.uid)).toMatchObject({ secretHash: hashSecret("3"), previousSecretHash: hashSecret("2") });
  const fourth = tokenOf(await renew({ gracePeriodMs: 0 }), "renewed");
  expect(fourth.previousSecretExpireTimeMs).toBeUndefined();
  expect((await stored(first.uid)).previousSecretHash).toBe(hashSecret("3"));
});

test("a grace period ends by Redis's clock, and is forgotten at the next use", async () => {
  const { uid } = await createToken();
  await renew({ gracePeriodMs: 150 });
  expect((await stored(uid)).previousSecretExpireTimeMs).toBeDefined();
  await eventually(async () => expect((await stored(uid)).previousSecretExpireTimeMs).toBeUndefined());
  expect((await store.get(alice, "my_token"))?.previousSecretExpireTimeMs).toBeUndefined();
  store.recordUse(await reading(uid));
  await eventually(async () => expect(await redis.client.hexists(tokenKey(splitUid(uid)), "pe")).toBe(0));
});

test("renewing at T-1 ms, T and T+1 ms of the expiry: it works until T and not after", async () => {
  const seen = { before: 0, at: 0, after: 0 };
  const isDone = () => Object.values(seen).every((count) => count >= 3);
  // So that Redis has the script, and each renewal below is one command between the two that tell the time.
  await renew();
  for (let round = 0; !isDone() && round < 400; round += 1) {
    const name = `edge-${round}`;
    const { uid, ...token } = await createToken({ name, ttlMs: 20 });
    const endMs = expireTimeMs({ uid, ...token });
    while ((redis.connection.nowMs(tokenKey(splitUid(uid))) ?? 0) < endMs - 1 + (round % 3))
      await new Promise((resolve) => setImmediate(resolve));
    // Redis's own time right before and after, on the same connection.
    const [[before], answer, [after]] = await Promise.all([redisTime(), renew({ name }), redisTime()]);
    if (answer.outcome === "renewed") {
      const renewedMs = tokenOf(answer, "renewed").createTimeMs;
      expect(renewedMs).toBeLessThanOrEqual(endMs);
      if (renewedMs === endMs) seen.at += 1;
      else seen.before += 1;
    } else {
      expect(answer.outcome).toBe("missing");
      expect(after).toBeGreaterThan(endMs);
      if (before === after && before === endMs + 1) seen.after += 1;
    }
  }
  expect(isDone()).toBe(true);
});

test("an expired token is gone: nothing finds, renews, revokes, lists or revives it, and its name is free", async () => {
  const token = await createToken({ ttlMs: 30 });
  const read = await reading(token.uid);
  await eventually(async () => expect(await store.read(token.uid)).toBeUndefined());
  store.recordUse(read);
  expect((await renew()).outcome).toBe("missing");
  expect((await store.revoke({ ...alice, actor: "user:alice", name: "my_token", etag: "" })).outcome).toBe("missing");
  expect(await store.get(alice, "my_token")).toBeUndefined();
  expect(
    (await store.list({ organizationId: ORGANIZATION, userId: undefined, after: undefined, limit: 10 })).tokens,
  ).toEqual([]);
  expect(await keys(`apitoken:{${TAG}}:t:*`)).toEqual([]);
  expect((await createToken()).uid).not.toBe(token.uid);
});

test("a repeated request is answered with the same sealed secret and changes nothing", async () => {
  const created = await createToken({ replay: replay() });
  const again = await create({ replay: replay({ sealedSecret: "sealed-2" }), secretHash: hashSecret("second") });
  expect(again).toEqual({ outcome: "replayed", token: created, sealedSecret: "sealed-1" });
  const request = { requestHash: "request-2", sealedSecret: "sealed-3" };
  const renewed = tokenOf(await renew({ replay: replay(request) }), "renewed");
  expect(await renew({ replay: replay(request) })).toEqual({
    outcome: "replayed",
    token: renewed,
    sealedSecret: "sealed-3",
  });
  expect((await stored(created.uid)).generation).toBe(2);
});

test("a request_id with other fields is refused and changes nothing", async () => {
  const token = await createToken({ replay: replay() });
  expect((await create({ replay: replay({ fingerprint: "fields-2" }) })).outcome).toBe("reused");
  expect((await renew({ replay: replay({ fingerprint: "fields-2" }) })).outcome).toBe("reused");
  expect(await stored(token.uid)).toEqual(token);
});

test("after the first use, another renewal or a revocation a request can no longer be replayed", async () => {
  const token = await createToken({ replay: replay() });
  store.recordUse(await reading(token.uid));
  await eventually(async () => expect((await create({ replay: replay() })).outcome).toBe("expired"));
  const second = replay({ requestHash: "request-2" });
  await renew({ replay: second });
  await renew({ replay: replay({ requestHash: "request-3" }) });
  expect((await renew({ replay: second })).outcome).toBe("expired");
  const fourth = replay({ requestHash: "request-4" });
  await createToken({ name: "other", replay: fourth });
  await store.revoke({ ...alice, actor: "user:alice", name: "other", etag: "" });
  expect((await create({ name: "other", replay: fourth })).outcome).toBe("expired");
  expect((await stored(token.uid)).generation).toBe(3);
});

test("a token remembers its latest request_id for life, also when the ten minutes are over", async () => {
  await createToken({ replay: replay() });
  await redis.client.del(receiptKey(TAG, "request-1"));
  expect((await create({ replay: replay() })).outcome).toBe("expired");
  expect((await renew({ replay: replay() })).outcome).toBe("expired");
  await renew();
  expect((await renew({ replay: replay() })).outcome).toBe("expired");
  expect((await create({ replay: replay({ requestHash: "request-2" }) })).outcome).toBe("exists");
});

test("a replayable answer is kept for ten minutes", async () => {
  await createToken({ replay: replay() });
  const leftMs = await redis.client.pttl(receiptKey(TAG, "request-1"));
  expect(leftMs).toBeGreaterThan(590_000);
  expect(leftMs).toBeLessThanOrEqual(600_000);
});

test("a page is ordered by user, then name, bytewise, and every token is on exactly one page", async () => {
  const names = ["b", "a", "B", "a b", "a!", "~", "aa", "0"];
  const users = ["alice", "alice2", "Bob", "al"];
  const expected: string[] = [];
  for (const userId of users) {
    for (const name of names) {
      await createToken({ userId, name });
      expected.push(`${userId}\0${name}`);
    }
  }
  expected.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  for (const limit of [1, 3, 1000]) expect(await listAll(undefined, limit)).toEqual(expected);
  expect(await listAll("alice", 2)).toEqual(expected.filter((entry) => entry.startsWith("alice\0")));
});

test.each([0, 1, 1000, 1001])("a list of %i tokens comes in full pages, and ends where they end", async (count) => {
  for (let made = 0; made < count; made += 500) await createMany(Math.min(500, count - made), {}, `t${made}-`);
  const first = await store.list({ organizationId: ORGANIZATION, userId: "alice", after: undefined, limit: 1000 });
  expect(first.tokens).toHaveLength(Math.min(count, 1000));
  expect(first.next === undefined).toBe(count <= 1000);
  expect(await listAll("alice", 1000)).toHaveLength(count);
});

test("a list of what expires before an instant has exactly that, in the order of names, in pages of any size", async () => {
  const ends = new Map<string, number>();
  for (let i = 0; i < 40; i += 1) {
    const token = await createToken({
      userId: i % 2 === 0 ? "alice" : "bob",
      name: `t${i}`,
      ttlMs: 60_000 + (i % 7) * 1000,
    });
    ends.set(`${token.userId}\0${token.name}`, expireTimeMs(token));
  }
  const instants = [...ends.values()].flatMap((endMs) => [endMs, endMs + 1]);
  for (const expireBeforeMs of [-62_135_596_800_000, ...instants, 253_402_300_800_000]) {
    const expected = [...ends].flatMap(([entry, endMs]) => (endMs < expireBeforeMs ? [entry] : [])).sort();
    for (const limit of [1, 7, 1000]) expect(await listAll(undefined, limit, expireBeforeMs)).toEqual(expected);
    const own = expected.filter((entry) => entry.startsWith("bob\0"));
    expect(await listAll("bob", 3, expireBeforeMs)).toEqual(own);
  }
});

test("a call passes over about a thousand tokens that expire too late, and the next one goes on from there", async () => {
  for (let batch = 0; batch < 5; batch += 1) await createMany(500, {}, `late-${batch}-`);
  const soon = await createToken({ name: "soon", ttlMs: 60_000, maxTokensPerUser: 10_000 });
  const query = { organizationId: ORGANIZATION, userId: "alice", limit: 1, expireBeforeMs: expireTimeMs(soon) + 1 };
  const lengths: number[] = [];
  let after: Parameters<RedisTokenStore["list"]>[0]["after"];
  do {
    const page = await store.list({ ...query, after });
    lengths.push(page.tokens.length);
    after = page.next;
  } while (after !== undefined);
  expect(lengths).toEqual([0, 0, 1]);
});

test("a list passes over any number of expired tokens and drops them from the index", async () => {
  for (let batch = 0; batch < 10; batch += 1) await createMany(500, {}, `batch-${batch}-`);
  // Gone all at once, as by expiry.
  await redis.client.del(...(await keys(`apitoken:{${TAG}}:t:*`)));
  await createToken({ name: "zz", maxTokensPerUser: 10_000 });
  expect(await redis.client.zcard(`apitoken:{${TAG}}:index`)).toBeGreaterThan(4900);
  expect(await listAll("alice", 10)).toEqual(["alice\0zz"]);
  expect(await redis.client.zcard(`apitoken:{${TAG}}:index`)).toBe(1);
});

test("a Redis that refuses writes still reads, past the entries of expired tokens too", async () => {
  await createToken({ name: "gone" });
  await createToken({ name: "here" });
  const { id } = splitUid((await store.get(alice, "gone"))?.uid ?? "");
  await redis.client.del(tokenKey({ tag: TAG, id }));
  await redis.client.config("SET", "min-replicas-to-write", "1");
  try {
    expect(await listAll("alice", 10)).toEqual(["alice\0here"]);
    expect(await store.get(alice, "gone")).toBeUndefined();
  } finally {
    await redis.client.config("SET", "min-replicas-to-write", "0");
  }
});

test("a first use while the connection is down is noted when it is back", async () => {
  const { uid } = await createToken();
  const used = await reading(uid);
  await redis.client.client("KILL", "TYPE", "normal");
  store.recordUse(used);
  await eventually(async () => expect((await stored(uid)).lastUsedTimeMs).toBeDefined(), 2000);
});

test("a user has at most the allowed number of live tokens; expired ones do not count", async () => {
  await createToken({ name: "short", ttlMs: 50, maxTokensPerUser: 2 });
  await createToken({ name: "long", maxTokensPerUser: 2 });
  await eventually(async () => expect((await create({ name: "third", maxTokensPerUser: 2 })).outcome).toBe("created"));
  expect((await create({ name: "fourth", maxTokensPerUser: 2 })).outcome).toBe("limit");
  expect((await create({ name: "fourth", userId: "bob", maxTokensPerUser: 2 })).outcome).toBe("created");
  expect(await listAll("alice", 10)).toEqual(["alice\0long", "alice\0third"]);
});

test("the entries of expired tokens of users who never come back do not pile up", async () => {
  await createToken({ userId: "keeper" });
  for (let batch = 0; batch < 20; batch += 1) {
    await Promise.all(Array.from({ length: 100 }, (_, i) => createToken({ userId: `u${batch}-${i}`, ttlMs: 20 })));
  }
  await eventually(async () => expect(await keys(`apitoken:{${TAG}}:t:*`)).toHaveLength(1));
  for (let i = 0; i < 1000; i += 1) await createToken({ userId: `late-${i}`, ttlMs: 20 });
  expect(await redis.client.zcard(`apitoken:{${TAG}}:index`)).toBeLessThan(500);
});

test("an answer about another token, owner or organization is caught", async () => {
  const token = await createToken();
  const key = tokenKey(splitUid(token.uid));
  for (const [field, value] of [
    ["n", "other"],
    ["u", "bob"],
    ["o", "globex"],
  ] as const) {
    const before = await redis.client.hget(key, field);
    await redis.client.hset(key, field, value);
    await expect(store.get(alice, "my_token")).rejects.toThrow("Redis answered about another token");
    await expect(renew()).rejects.toThrow("Redis answered about another token");
    if (field !== "n") await expect(listAll("alice", 10)).rejects.toThrow("Redis answered about another owner's token");
    await redis.client.hset(key, field, before ?? "");
  }
});

test("64 parallel creations of one name make one token, and never more than the limit of many names", async () => {
  const same = await Promise.all(Array.from({ length: 64 }, () => create()));
  expect(same.filter(({ outcome }) => outcome === "created")).toHaveLength(1);
  const many = await Promise.all(Array.from({ length: 64 }, (_, i) => create({ name: `n${i}`, maxTokensPerUser: 10 })));
  expect(many.filter(({ outcome }) => outcome === "created")).toHaveLength(9);
  expect(await listAll("alice", 100)).toHaveLength(10);
});

test("the first use is noted at once, later ones once per resolution, and none on another generation", async () => {
  store = new RedisTokenStore(redis.connection, { lastUsedResolutionMs: 100, eventRetentionMs: 86_400_000 });
  const { uid } = await createToken();
  const unused = await reading(uid);
  store.recordUse(unused);
  await eventually(async () => expect((await stored(uid)).lastUsedTimeMs).toBeDefined(), 2000);
  const first = await reading(uid);
  store.recordUse(first);
  await eventually(async () => {
    const now = await reading(uid);
    store.recordUse(now);
    expect(now.token.lastUsedTimeMs).toBeGreaterThanOrEqual((first.token.lastUsedTimeMs ?? 0) + 100);
  });
  await renew();
  store.recordUse(unused);
  await redis.client.ping();
  expect((await stored(uid)).lastUsedTimeMs).toBeUndefined();
});

test("a Redis that lost its scripts serves on", async () => {
  await createToken();
  await redis.client.script("FLUSH");
  expect((await renew()).outcome).toBe("renewed");
  await redis.client.script("FLUSH");
  expect(
    (await Promise.all([store.get(alice, "my_token"), store.get(alice, "nothing")])).map((token) => token?.generation),
  ).toEqual([2, undefined]);
});

async function reading(uid: string) {
  const found = await store.read(uid);
  if (found === undefined) throw new Error("the token is gone");
  return found;
}

async function stored(uid: string) {
  return (await reading(uid)).token;
}

async function redisTime(): Promise<[number]> {
  // On the connection of mutations, between which it thus comes.
  const [seconds = 0, microseconds = 0] = (await redis.connection.writes.all()[0]?.redis.time()) ?? [];
  return [Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000)];
}

/** All pages, as `user \0 name`. */
async function listAll(userId: string | undefined, limit: number, expireBeforeMs?: number): Promise<string[]> {
  const entries: string[] = [];
  let after: Parameters<RedisTokenStore["list"]>[0]["after"];
  do {
    const page = await store.list({ organizationId: ORGANIZATION, userId, expireBeforeMs, after, limit });
    expect(page.tokens.length).toBeLessThanOrEqual(limit);
    entries.push(...page.tokens.map((token) => `${token.userId}\0${token.name}`));
    after = page.next;
  } while (after !== undefined);
  return entries;
}
