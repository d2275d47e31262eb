// The count of all tokens: of every master, by when they expire, by one process for all.
import { afterEach, expect, test } from "@jest/globals";
import { pino } from "pino";
import { generateUid, hashSecret, organizationTag } from "../../src/domain/token-string.js";
import type { RedisConnection } from "../../src/redis/connection.js";
import { CENSUS_KEYS, indexKey } from "../../src/redis/layout.js";
import { RedisTokenStore } from "../../src/redis/redis-token-store.js";
import { type CensusOptions, TokenCensus } from "../../src/redis/token-census.js";
import { startCluster } from "../faults/cluster.js";
import { connect, eventually, startRedis } from "../harness.js";

const DAY_MS = 86_400_000;
const TTLS_MS = [60_000, DAY_MS - 60_000, DAY_MS + 60_000, 6 * DAY_MS, 29 * DAY_MS, 31 * DAY_MS, 90 * DAY_MS];
const COUNT = { tokens: 7, expiring: { "1d": 2, "7d": 4, "30d": 5 } };

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function begin(connection: RedisConnection, options: Partial<CensusOptions> = {}): TokenCensus {
  const log = pino({ level: "silent" });
  const census = new TokenCensus(connection, {
    log,
    lookMs: 20,
    intervalMs: 60_000,
    keysPerStep: 3,
    restMs: 1,
    ...options,
  });
  census.start();
  cleanups.push(() => census.stop());
  return census;
}

/** One token of each lifetime, each of an organization of its own. */
async function seed(connection: RedisConnection): Promise<void> {
  const store = new RedisTokenStore(connection, { lastUsedResolutionMs: 60_000, eventRetentionMs: DAY_MS });
  for (const [at, ttlMs] of TTLS_MS.entries()) {
    const organizationId = `organization-${at}`;
    const created = await store.create({
      ...{ organizationId, userId: "alice", actor: "user:alice", name: "my_token", role: "", ttlMs },
      ...{ uid: generateUid(organizationId), secretHash: hashSecret("1"), replay: undefined, maxTokensPerUser: 10 },
    });
    expect(created.outcome).toBe("created");
  }
}

async function startWithTokens() {
  const redis = await startRedis();
  cleanups.push(() => redis.stop());
  await seed(redis.connection);
  return redis;
}

test("tokens are counted by when they expire, and nothing else that is in Redis is", async () => {
  const redis = await startWithTokens();
  for (let at = 0; at < 50; at += 1) await redis.client.set(`apitoken:{x}:receipt:${at}`, "", "PX", 60_000);
  const census = begin(redis.connection);
  const latest = await eventually(() => {
    expect(census.latest).toBeDefined();
    return census.latest;
  });
  expect(latest).toMatchObject(COUNT);
  expect(Math.abs((latest?.timeMs ?? 0) - Date.now())).toBeLessThan(5000);
});

test("one process counts in an interval, and all tell what it has counted", async () => {
  const redis = await startWithTokens();
  const all = [begin(redis.connection), begin(redis.connection), begin(await other(redis.socketPath))];
  await eventually(() => {
    for (const census of all) expect(census.latest).toMatchObject(COUNT);
  });
  const stats = await redis.client.info("commandstats");
  const scans = Number(/cmdstat_scan:calls=(\d+)/.exec(stats)?.[1]);
  // Seven tokens with their organizations' keys, in steps of three.
  expect(scans).toBeGreaterThan(1);
  expect(scans).toBeLessThan(15);
});

test("a count is made anew when its time has come, and is not told for ever", async () => {
  const redis = await startWithTokens();
  const census = begin(redis.connection, { intervalMs: 50 });
  await eventually(() => expect(census.latest).toMatchObject(COUNT));
  await redis.client.flushall();
  await eventually(() => expect(census.latest).toMatchObject({ tokens: 0, expiring: { "1d": 0, "7d": 0, "30d": 0 } }));
  expect(await redis.client.pttl(CENSUS_KEYS.result)).toBeGreaterThan(0);
});

test("a user that may not SCAN costs a warning, and the turn is free again soon", async () => {
  const redis = await startWithTokens();
  await redis.client.call("ACL", "SETUSER", "default", "-scan");
  const lines: string[] = [];
  const log = pino({ level: "warn" }, { write: (line) => lines.push(line) });
  const census = begin(redis.connection, { log });
  await eventually(() => expect(lines).toHaveLength(1));
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({ cause: "ERR", msg: expect.stringMatching(/needs \+scan$/) });
  await redis.client.call("ACL", "SETUSER", "default", "+scan");
  await eventually(() => expect(census.latest).toMatchObject(COUNT));
  expect(lines).toHaveLength(1);
});

test("in a Cluster the tokens of all masters are counted", async () => {
  const topology = await startCluster();
  cleanups.push(() => topology.stop());
  const connection = await connect(topology.redisUrl);
  cleanups.push(() => connection.close());
  await seed(connection);
  const owners = TTLS_MS.map((_, at) => connection.writes.of(indexKey(organizationTag(`organization-${at}`))));
  expect(new Set(owners).size).toBeGreaterThan(1);
  const census = begin(connection);
  await eventually(() => expect(census.latest).toMatchObject(COUNT));
});

async function other(socketPath: string): Promise<RedisConnection> {
  const connection = await connect(socketPath);
  cleanups.push(() => connection.close());
  return connection;
}
