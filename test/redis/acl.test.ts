// The Redis user that docs/redis.md tells to make: with these rules everything works, and each of them is needed.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { afterEach, expect, test } from "@jest/globals";
import calculateSlot from "cluster-key-slot";
import { pino } from "pino";
import { generateUid, hashSecret, organizationTag } from "../../src/domain/token-string.js";
import { RedisConnection } from "../../src/redis/connection.js";
import { indexKey } from "../../src/redis/layout.js";
import { RedisTokenStore } from "../../src/redis/redis-token-store.js";
import { selfCheck } from "../../src/redis/self-check.js";
import { TokenCensus } from "../../src/redis/token-census.js";
import { type ClusterTopology, startCluster } from "../faults/cluster.js";
import type { RedisNode } from "../faults/redis-node.js";
import { startSentinels } from "../faults/sentinel.js";
import { addressOf, eventually } from "../harness.js";

const SAFE = { allowVolatile: false, allowUnverified: false, durability: "safe" } as const;
const PASSWORD = "p@ss:w/rd";
const LOGIN = `apitokend:${encodeURIComponent(PASSWORD)}`;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** The words of the page's line that makes the user. */
function ruleOf(user: string): string[] {
  const page = readFileSync(resolve(import.meta.dirname, "../../../docs/redis.md"), "utf8");
  const [, rule = ""] = new RegExp(`^ACL SETUSER ${user} ((?:\\\\\\n|.)+)$`, "m").exec(page) ?? [];
  return rule.replaceAll("\\\n", " ").replace(">password", `>${PASSWORD}`).split(/\s+/);
}

const setUser = (nodes: readonly RedisNode[], user: string) =>
  Promise.all(nodes.map((node) => node.command("ACL", "SETUSER", user, ...ruleOf(user))));

async function openStore(url: string) {
  const connection = new RedisConnection(addressOf(url), { awaitsReplicas: true });
  cleanups.push(() => connection.close());
  expect(await eventually(() => selfCheck(connection, SAFE))).toEqual({ faults: [], warnings: [] });
  const census = new TokenCensus(connection, { log: pino({ level: "silent" }), lookMs: 20 });
  cleanups.push(() => census.stop());
  census.start();
  await eventually(() => expect(census.latest).toMatchObject({ tokens: 0 }));
  return new RedisTokenStore(connection, { lastUsedResolutionMs: 60_000, eventRetentionMs: 86_400_000 });
}

/** Everything that the service asks of Redis. */
async function useAll(store: RedisTokenStore, organizationId: string) {
  const owner = { organizationId, userId: "alice" };
  const common = { ...owner, actor: "user:alice", name: "my_token" };
  const replay = { requestHash: "request", fingerprint: "fields", sealedSecret: "sealed" };
  const uid = generateUid(organizationId);
  const creation = { ...common, uid, role: "admin", ttlMs: 3_600_000, secretHash: hashSecret("1"), replay };
  expect(await store.create({ ...creation, maxTokensPerUser: 1 })).toMatchObject({ outcome: "created" });
  expect(await store.create({ ...creation, maxTokensPerUser: 1 })).toMatchObject({ outcome: "replayed" });
  expect(await store.create({ ...creation, name: "other", replay: undefined, maxTokensPerUser: 1 })).toEqual({
    outcome: "limit",
  });
  for (const gracePeriodMs of [60_000, 0]) {
    const renewal = { ...common, gracePeriodMs, secretHash: hashSecret("2"), replay: undefined, etag: "" };
    expect(await store.renew(renewal)).toMatchObject({ outcome: "renewed" });
    const reading = await store.read(uid);
    if (reading === undefined) throw new Error("no token");
    store.recordUse(reading);
    await eventually(async () => expect((await store.read(uid))?.token.lastUsedTimeMs).toBeDefined());
    if (gracePeriodMs === 0) store.recordSupersededUse(reading.token, "service:gateway");
  }
  expect((await store.get(owner, "my_token"))?.uid).toBe(uid);
  expect((await store.list({ ...owner, after: undefined, limit: 10 })).tokens).toHaveLength(1);
  const query = { ...owner, name: undefined, uid, before: undefined, limit: 10 };
  await eventually(async () => expect((await store.listEvents(query)).events).toHaveLength(4));
  expect(await store.revoke({ ...common, etag: "" })).toMatchObject({ outcome: "revoked" });
}

/** The commands that were called on any of the nodes, as ACL rules name them. */
async function calledCommands(nodes: readonly RedisNode[]): Promise<ReadonlySet<string>> {
  const stats = await Promise.all(nodes.map((node) => node.command("INFO", "commandstats")));
  return new Set(
    stats.flatMap((text) => [...String(text).matchAll(/^cmdstat_([^:]+):/gm)].map(([, name = ""]) => name)),
  );
}

async function refusals(nodes: readonly RedisNode[]): Promise<unknown[]> {
  return (await Promise.all(nodes.map((node) => node.command("ACL", "LOG")))).flat();
}

/** Reads and renews while the organization's slot is between two masters. */
async function moveSlot(topology: ClusterTopology, store: RedisTokenStore, organizationId: string) {
  const uid = generateUid(organizationId);
  const common = { organizationId, userId: "alice", actor: "user:alice", name: "moving" };
  const creation = { ...common, uid, role: "", ttlMs: 3_600_000, secretHash: hashSecret("1"), replay: undefined };
  await store.create({ ...creation, maxTokensPerUser: 10 });
  const slot = calculateSlot(indexKey(organizationTag(organizationId)));
  const owner = await topology.masterOfSlot(slot);
  const target = (await topology.masters()).find((node) => node !== owner);
  if (target === undefined) throw new Error("no other master");
  await topology.migrateSlot(slot, target, {
    pause: async () => expect(await store.read(uid)).toMatchObject({ token: { uid } }),
  });
}

test("in a Cluster the user of docs/redis.md can do what is needed, and has no rule too many", async () => {
  const topology = await startCluster();
  cleanups.push(() => topology.stop());
  await setUser(topology.nodes, "apitokend");
  const store = await openStore(topology.redisUrl.replace("://", `://${LOGIN}@`));
  await useAll(store, "acme");
  await moveSlot(topology, store, "acme");
  expect(await refusals(topology.nodes)).toEqual([]);
  const called = await calledCommands(topology.nodes);
  const granted = ruleOf("apitokend").filter((word) => word.startsWith("+"));
  expect(granted.length).toBeGreaterThan(20);
  const unused = granted.filter((word) => !called.has(word.slice(1)));
  // ioredis calls these when it asks a replica for the slots, or a node has another role than before.
  expect(unused.filter((word) => word !== "+readonly" && word !== "+readwrite")).toEqual([]);
});

test("under Sentinels the users of docs/redis.md can do what is needed", async () => {
  const topology = await startSentinels();
  cleanups.push(() => topology.stop());
  await setUser(topology.nodes, "apitokend");
  await setUser(topology.sentinels, "apitokend-discovery");
  const discovery = `?sentinel_username=apitokend-discovery&sentinel_password=${encodeURIComponent(PASSWORD)}`;
  const url = `${topology.redisUrl.replace("://", `://${LOGIN}@`)}${discovery}`;
  const store = await openStore(url);
  await useAll(store, "acme");
  await eventually(async () => {
    const lists = await Promise.all(topology.sentinels.map((node) => node.command("CLIENT", "LIST", "TYPE", "PUBSUB")));
    for (const list of lists) expect(list).toContain(" sub=1 ");
  });
  expect(await refusals([...topology.nodes, ...topology.sentinels])).toEqual([]);
  // Sentinels do not count commands: each rule that is taken away must be missed.
  for (const word of ruleOf("apitokend-discovery").filter((rule) => /^[+&]/.test(rule))) {
    const taken = word.startsWith("&") ? ["resetchannels"] : [`-${word.slice(1)}`];
    for (const sentinel of topology.sentinels) {
      await sentinel.command("ACL", "SETUSER", "apitokend-discovery", ...taken);
      await sentinel.command("ACL", "LOG", "RESET");
    }
    const connection = new RedisConnection(addressOf(url), { awaitsReplicas: true });
    cleanups.push(() => connection.close());
    await eventually(async () => expect((await refusals(topology.sentinels)).length).toBeGreaterThan(0));
    await setUser(topology.sentinels, "apitokend-discovery");
  }
});
