// Each Lua script alone: run at most once, never too late, and the TTL that it leaves, as Redis sees it.
import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals";
import type { Redis } from "ioredis";
import { evalsha, readFields } from "../../src/redis/commands.js";
import { FIELDS } from "../../src/redis/layout.js";
import * as scripts from "../../src/redis/scripts.js";
import { eventually, startRedis } from "../harness.js";

const INDEX = "apitoken:{t}:index";
const TOKENS = "apitoken:{t}:t:";
const receipt = (id: string) => `apitoken:{t}:receipt:${id}`;
const EVENTS = "apitoken:{t}:events";
const MARK = "apitoken:{t}:superseded:abcdefghijkl";
const RETENTION_MS = 86_400_000;
const ID = "abcdefghijkl";
const TOKEN = TOKENS + ID;
const LATER = 8_000_000_000_000;
const TTL_MS = 3_600_000;

let server: Awaited<ReturnType<typeof startRedis>>;
let redis: Redis;
beforeAll(async () => {
  server = await startRedis();
  redis = server.client;
});
beforeEach(() => redis.flushall());
afterAll(() => server.stop());

/** Redis learns a script when it is run the first time. */
async function run<Reply>(script: scripts.Script<Reply>, ...[keys, args]: [string[], readonly (string | number)[]]) {
  return script(redis, keys, args).catch((error: Error) => {
    if (!error.message.startsWith("NOSCRIPT")) throw error;
    return script(redis, keys, args);
  });
}

const keys = (operation: string, request = "") => [INDEX, TOKENS, receipt(request || operation), EVENTS];
const common = (operation: string, request = "", notAfterMs = LATER) =>
  [
    ...[operation, notAfterMs, "alice", "my_token", request, request && "fields", request && "sealed", 600_000],
    ...["user:alice", RETENTION_MS],
  ] as const;
const create = (operation = "op-create", request = "", notAfterMs = LATER, ttlMs = TTL_MS) => {
  const args = [...common(operation, request, notAfterMs), "acme", ID, "", ttlMs, "hash-1", 1000];
  return run(scripts.create, keys(operation, request), args);
};
const renew = (operation: string, request = "", notAfterMs = LATER) =>
  run(scripts.renew, keys(operation, request), [...common(operation, request, notAfterMs), "hash-2", 60_000, ""]);
const revoke = (operation: string, notAfterMs = LATER) =>
  run(scripts.revoke, keys(operation), [...common(operation, "", notAfterMs), ""]);

const superseded = (generation: number, actor = "service:x") =>
  run(scripts.recordSupersededUse, [TOKEN, MARK, EVENTS], [ID, generation, actor, RETENTION_MS, 60_000]);

/** Kind, generation and actor of each event, oldest first. */
async function events(): Promise<string[]> {
  const entries = await redis.xrange(EVENTS, "-", "+");
  return entries.map(([, fields]) => {
    const of = new Map(fields.flatMap((key, at) => (at % 2 === 0 ? [[key, fields[at + 1]] as const] : [])));
    expect(["o", "u", "n", "i"].map((field) => of.get(field))).toEqual(["acme", "alice", "my_token", ID]);
    return ["k", "g", "a"].map((field) => of.get(field)).join(" ");
  });
}

/** How far the key's TTL is from the lifetime, in ms. */
async function ttlErrorMs(): Promise<number> {
  return TTL_MS - (await redis.pttl(TOKEN));
}

async function expectFreshTtl(): Promise<void> {
  const errorMs = await ttlErrorMs();
  expect(errorMs).toBeGreaterThanOrEqual(0);
  expect(errorMs).toBeLessThan(1000);
}

test("create writes the hash with its TTL, the index entry and the receipt", async () => {
  const [word, nowMs, [id, values]] = (await create()) as Extract<
    Awaited<ReturnType<typeof create>>,
    readonly ["ok", ...unknown[]]
  >;
  expect([word, id]).toEqual(["ok", ID]);
  const hash = { o: "acme", u: "alice", n: "my_token", c: nowMs, t: String(TTL_MS), g: "1", s: "hash-1" };
  expect(await redis.hgetall(TOKEN)).toEqual(hash);
  expect(values).toEqual(FIELDS.map((field) => (hash as Record<string, string>)[field] ?? null));
  expect(await redis.zrange(INDEX, 0, -1)).toEqual([`alice\0my_token\0${ID}`]);
  await expectFreshTtl();
});

test("a token that ends while it is made is answered as it was", async () => {
  const [word, , token] = await create("op-1", "", LATER, -1);
  expect([word, token?.[0]]).toEqual(["ok", ID]);
  expect(await redis.exists(TOKEN)).toBe(0);
  expect(await events()).toEqual(["created 1 user:alice"]);
});

test("create refuses an id that is taken", async () => {
  await redis.hset(TOKEN, "c", "1", "t", String(LATER));
  expect((await create())[0]).toBe("collision");
  expect(await redis.zcard(INDEX)).toBe(0);
});

test("renew restarts the TTL", async () => {
  await create();
  await redis.pexpire(TOKEN, 5000);
  expect((await renew("op-renew"))[0]).toBe("ok");
  await expectFreshTtl();
});

test("record-use leaves the TTL as it is", async () => {
  await create();
  await redis.pexpireat(TOKEN, LATER);
  expect(await run(scripts.recordUse, [TOKEN, TOKEN], [1])).toBe("ok");
  expect(await redis.pexpiretime(TOKEN)).toBe(LATER);
});

test("record-use makes no key where there is none, and touches no other generation", async () => {
  expect(await run(scripts.recordUse, [TOKEN, TOKEN], [1])).toBe("gone");
  expect(await redis.exists(TOKEN)).toBe(0);
  await create();
  expect(await run(scripts.recordUse, [TOKEN, TOKEN], [2])).toBe("gone");
  expect(await redis.hexists(TOKEN, "a")).toBe(0);
});

test("record-use takes the sealed answer away and leaves the rest of the receipt", async () => {
  await create("op-create", "request");
  await run(scripts.recordUse, [TOKEN, receipt("request")], [1]);
  expect(await redis.hexists(receipt("request"), "sealed")).toBe(0);
  expect(await redis.hget(receipt("request"), "f")).toBe("fields");
  expect(await redis.pttl(receipt("request"))).toBeGreaterThan(590_000);
});

test("revoke ends the hash and the index entry", async () => {
  await create();
  expect((await revoke("op-revoke"))[0]).toBe("ok");
  expect(await redis.exists(TOKEN, INDEX)).toBe(0);
});

test("a command sent twice runs once and answers the same, whatever happened in between", async () => {
  const created = await create("op-1", "request");
  expect(await create("op-1", "request")).toEqual(created);
  const renewed = await renew("op-2");
  expect(await renew("op-2")).toEqual(renewed);
  await renew("op-3");
  expect(await renew("op-2")).toEqual(renewed);
  expect(await redis.hget(TOKEN, "g")).toBe("3");
  const revoked = await revoke("op-4");
  expect(revoked[0]).toBe("ok");
  expect(await revoke("op-4")).toEqual(revoked);
  expect((await renew("op-3"))[0]).toBe("ok");
  expect(await events()).toEqual([
    "created 1 user:alice",
    "renewed 2 user:alice",
    "renewed 3 user:alice",
    "revoked 3 user:alice",
  ]);
});

test("what changes nothing leaves no event", async () => {
  const now = await server.connection.readClock(TOKEN);
  await renew("op-1");
  await revoke("op-2");
  await create("op-3", "", now - 1);
  expect(await redis.exists(EVENTS)).toBe(0);
  await create("op-4", "request");
  await create("op-5", "request");
  await create("op-6");
  expect(await events()).toEqual(["created 1 user:alice"]);
});

test("a superseded use leaves one event a while, none of another generation or a dropped token, and changes nothing", async () => {
  await create();
  await renew("op-renew");
  const before = await redis.hgetall(TOKEN);
  expect(await superseded(1)).toBe("gone");
  expect(await superseded(2)).toBe("ok");
  expect(await superseded(2, "user:bob")).toBe("recent");
  expect(await redis.hgetall(TOKEN)).toEqual(before);
  await expectFreshTtl();
  expect((await events()).at(-1)).toBe("superseded_use 2 service:x");
  expect(await redis.pttl(MARK)).toBeGreaterThan(59_000);
  await redis.pexpire(MARK, 1);
  await eventually(async () => expect(await redis.exists(MARK)).toBe(0));
  expect(await superseded(2)).toBe("ok");
  await revoke("op-revoke");
  await redis.del(MARK);
  expect(await superseded(2)).toBe("gone");
});

test("events end with their retention, one by one and all together", async () => {
  await redis.xadd(EVENTS, "1-0", "k", "created");
  for (let at = 0; at < 300; at += 1) await redis.xadd(EVENTS, `1-${at + 1}`, "k", "created");
  await create();
  expect(await redis.xlen(EVENTS)).toBe(1);
  const ttlMs = await redis.pttl(EVENTS);
  expect(ttlMs).toBeLessThanOrEqual(RETENTION_MS);
  expect(ttlMs).toBeGreaterThan(RETENTION_MS - 1000);
});

test("list-events looks at a bounded number a call, and gives a page that goes on where it stopped", async () => {
  const fields = (user: string) => ["k", "created", "o", "acme", "u", user, "n", "x", "i", ID, "g", "1", "a", "user:x"];
  await redis.xadd(EVENTS, "1-1", ...fields("alice"));
  const pipeline = redis.pipeline();
  for (let at = 0; at < 5000; at += 1) pipeline.xadd(EVENTS, `2-${at + 1}`, ...fields("bob"));
  await pipeline.exec();
  const pages: number[] = [];
  let start = "+";
  do {
    const [found, next] = await run(scripts.listEvents, [EVENTS], [start, 10, "acme", "alice", "", ""]);
    pages.push(found.length);
    start = next === "" ? "" : `(${next}`;
  } while (start !== "");
  expect(pages).toEqual([...Array(10).fill(0), 1]);
  const [other] = await run(scripts.listEvents, [EVENTS], ["+", 10, "another organization", "", "", ""]);
  expect(other).toEqual([]);
});

test("a mutation after its not-after time changes nothing", async () => {
  const now = await server.connection.readClock(TOKEN);
  expect((await create("op-1", "", now - 1))[0]).toBe("late");
  expect(await redis.dbsize()).toBe(0);
  await create("op-2");
  const before = await redis.hgetall(TOKEN);
  expect((await renew("op-3", "", now - 1))[0]).toBe("late");
  expect((await revoke("op-4", now - 1))[0]).toBe("late");
  expect(await redis.hgetall(TOKEN)).toEqual(before);
});

test("the receipt of a call without request_id outlives every resend, and not much more", async () => {
  const now = await server.connection.readClock(TOKEN);
  await create("op-1", "", now + 600);
  const expireMs = await redis.pexpiretime(receipt("op-1"));
  expect(expireMs).toBe(now + 1600);
});

test("get drops the index entry of an expired token", async () => {
  await create();
  await redis.del(TOKEN);
  expect((await run(scripts.get, [INDEX, TOKENS], ["alice", "my_token"]))[0]).toBe("missing");
  expect(await redis.exists(INDEX)).toBe(0);
});

test("a script called with the wrong number of keys does not run", async () => {
  await expect(run(scripts.get, [INDEX], [])).rejects.toThrow("the script takes 2 keys, not 1");
});

test("commands can be wrapped as instrumentation does it, which calls resolve and reject by themselves", async () => {
  const wrapped = redis.duplicate();
  const send = wrapped.sendCommand.bind(wrapped);
  wrapped.sendCommand = (command) => {
    const { resolve, reject } = command;
    command.resolve = (reply) => resolve(reply);
    command.reject = (error) => reject(error);
    return send(command);
  };
  expect(await readFields(wrapped, "apitoken:{none}:t:none")).toEqual(FIELDS.map(() => null));
  await expect(evalsha(wrapped, "0".repeat(40), [], [])).rejects.toThrow("NOSCRIPT");
  wrapped.disconnect();
});
