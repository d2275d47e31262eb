// One code path for every way to deploy Redis: what the store promises holds under Sentinels and in a Cluster, where an
// answer also waits until replicas have what it says.
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import calculateSlot from "cluster-key-slot";
import type { ApiTokenError } from "../../src/domain/errors.js";
import { generateUid, hashSecret, organizationTag } from "../../src/domain/token-string.js";
import { RedisConnection } from "../../src/redis/connection.js";
import { indexKey } from "../../src/redis/layout.js";
import { RedisTokenStore } from "../../src/redis/redis-token-store.js";
import { selfCheck } from "../../src/redis/self-check.js";
import { type ClusterTopology, startCluster } from "../faults/cluster.js";
import type { RedisNode } from "../faults/redis-node.js";
import { type Sentinels, startSentinels } from "../faults/sentinel.js";
import { addressOf, eventually } from "../harness.js";

const SAFE = { allowVolatile: false, allowUnverified: false, durability: "safe" } as const;
const UNAVAILABLE = { reason: "STORE_UNAVAILABLE" };

/** A store that has passed its self-check. */
async function openStore(url: string, awaitsReplicas = true) {
  const connection = new RedisConnection(addressOf(url), { awaitsReplicas });
  await eventually(() => selfCheck(connection, { ...SAFE, durability: awaitsReplicas ? "safe" : "fast" }));
  const store = new RedisTokenStore(connection, { lastUsedResolutionMs: 60_000, eventRetentionMs: 86_400_000 });
  return { connection, store };
}

type Store = Awaited<ReturnType<typeof openStore>>["store"];

const OWNER = { organizationId: "acme", userId: "alice" };
const actor = "user:alice";

function create(store: Store, name: string, organizationId = "acme") {
  const owner = { ...OWNER, organizationId };
  const uid = generateUid(organizationId);
  const fixed = { role: "", ttlMs: 3_600_000, secretHash: hashSecret("1"), replay: undefined, maxTokensPerUser: 1000 };
  return store.create({ ...owner, ...fixed, actor, uid, name });
}

function renew(store: Store, name: string, organizationId = "acme") {
  const owner = { ...OWNER, organizationId };
  return store.renew({
    ...owner,
    actor,
    name,
    gracePeriodMs: 0,
    secretHash: hashSecret("2"),
    replay: undefined,
    etag: "",
  });
}

function uidOf(answer: Awaited<ReturnType<typeof create>>): string {
  if (answer.outcome !== "created") throw new Error(`created, not ${answer.outcome}`);
  return answer.token.uid;
}

async function livesAndDies(store: Store, organizationId: string) {
  const owner = { ...OWNER, organizationId };
  const uid = uidOf(await create(store, "my_token", organizationId));
  expect(await create(store, "my_token", organizationId)).toEqual({ outcome: "exists" });
  expect(await renew(store, "my_token", organizationId)).toMatchObject({
    outcome: "renewed",
    token: { generation: 2 },
  });
  expect(await store.read(uid)).toMatchObject({ token: { ...owner, uid, generation: 2, secretHash: hashSecret("2") } });
  expect((await store.list({ ...owner, after: undefined, limit: 10 })).tokens).toHaveLength(1);
  expect(await store.revoke({ ...owner, actor, name: "my_token", etag: "" })).toMatchObject({ outcome: "revoked" });
  expect(await store.read(uid)).toBeUndefined();
  const query = { ...owner, name: undefined, uid, before: undefined, limit: 10 };
  const { events } = await store.listEvents(query);
  expect(events.map(({ kind }) => kind)).toEqual(["revoked", "renewed", "created"]);
}

describe("under Sentinels", () => {
  let topology: Sentinels;
  let opened: Awaited<ReturnType<typeof openStore>>;
  beforeAll(async () => {
    topology = await startSentinels();
    opened = await openStore(topology.redisUrl);
  }, 30_000);
  afterAll(async () => {
    opened?.connection.close();
    await topology?.stop();
  });

  const replicas = async () => {
    const masters = await topology.masters();
    return topology.nodes.filter((node) => !masters.includes(node));
  };

  test("a token lives and dies", () => livesAndDies(opened.store, "acme"));

  test("what no replica confirms is not acknowledged, and not read either, until one does", async () => {
    const uid = uidOf(await create(opened.store, "unconfirmed"));
    for (const replica of await replicas()) replica.suspend();
    const startMs = performance.now();
    await expect(renew(opened.store, "unconfirmed")).rejects.toMatchObject({ reason: "OUTCOME_UNKNOWN" });
    await expect(opened.store.read(uid)).rejects.toMatchObject(UNAVAILABLE);
    expect(performance.now() - startMs).toBeLessThan(1200);
    // Beyond min-replicas-max-lag the master itself refuses.
    await eventually(() => expect(renew(opened.store, "unconfirmed")).rejects.toMatchObject(UNAVAILABLE), 8000);
    for (const replica of await replicas()) replica.resume();
    await eventually(() => opened.store.read(uid));
    await topology.healed();
    // It counts its replicas once a second.
    expect(await eventually(() => renew(opened.store, "unconfirmed"))).toMatchObject({ outcome: "renewed" });
  });

  test("one replica of two is enough", async () => {
    const [replica] = await replicas();
    replica?.suspend();
    await create(opened.store, "one-replica");
    expect(await renew(opened.store, "one-replica")).toMatchObject({ token: { generation: 2 } });
    replica?.resume();
  });

  test("mutations that come at once go out under a few WAITs", async () => {
    const [master] = await topology.masters();
    await create(opened.store, "first");
    await master?.command("CONFIG", "RESETSTAT");
    await Promise.all(Array.from({ length: 200 }, (_, at) => create(opened.store, `grouped-${at}`)));
    const stats = String(await master?.command("INFO", "commandstats"));
    const calls = (name: string) => Number(new RegExp(`^cmdstat_${name}:calls=(\\d+)`, "m").exec(stats)?.[1]);
    expect(calls("evalsha")).toBe(200);
    expect(calls("wait")).toBeLessThan(10);
  });

  /** From all but services, which no Sentinel can tell of it either. */
  const cutOff = (master: RedisNode) => {
    topology.partition(master, { from: "everybody but services" });
    const isService = (opening: string) => opening !== "" && !opening.includes("sentinel-");
    for (const sentinel of topology.sentinels) topology.proxyOf(sentinel).blackHole(isService);
  };

  test("a master that was cut off while nobody asked answers no reads, though replicas have all that there is", async () => {
    const uid = uidOf(await create(opened.store, "idle"));
    await opened.store.read(uid);
    const [master] = await topology.masters();
    if (master === undefined) throw new Error("no master");
    cutOff(master);
    await eventually(async () => {
      expect(await master.command("INFO", "replication")).toContain("min_slaves_good_slaves:0");
    });
    await expect(opened.store.read(uid)).rejects.toMatchObject(UNAVAILABLE);
    topology.reunite();
    await topology.healed();
    await eventually(() => opened.store.read(uid), 10_000);
  }, 40_000);

  test("a master that is cut off and replaced answers no reads, though it still runs", async () => {
    const uid = uidOf(await create(opened.store, "cut-off"));
    const [master] = await topology.masters();
    if (master === undefined) throw new Error("no master");
    cutOff(master);
    await eventually(() => expect(opened.store.read(uid)).rejects.toMatchObject(UNAVAILABLE), 1000);
    await expect(renew(opened.store, "cut-off")).rejects.toMatchObject({ name: "ApiTokenError" });
    await eventually(async () => expect((await topology.masters())[0]).not.toBe(master), 10_000);
    expect(await master.command("ROLE")).toContain("master");
    await expect(opened.store.read(uid)).rejects.toMatchObject(UNAVAILABLE);
    topology.reunite();
    await topology.healed();
    await eventually(() => opened.store.read(uid), 10_000);
    expect(await eventually(() => renew(opened.store, "cut-off"), 10_000)).toMatchObject({ token: { generation: 2 } });
  }, 40_000);

  test("a master that is cut off with one of two replicas confirms nothing with min-replicas-to-write 2", async () => {
    await create(opened.store, "split");
    const [master] = await topology.masters();
    const [replica] = await replicas();
    if (master === undefined || replica === undefined) throw new Error("no master, or no replica");
    await master.command("CONFIG", "SET", "min-replicas-to-write", 2);
    expect(await selfCheck(opened.connection, SAFE)).toEqual({ faults: [], warnings: [] });
    topology.partition([master, replica], { from: "everybody but services" });
    for (let round = 0; round < 5; round += 1) {
      await expect(renew(opened.store, "split")).rejects.toMatchObject({ name: "ApiTokenError" });
    }
    await master.command("CONFIG", "SET", "min-replicas-to-write", 1);
    topology.reunite();
    await topology.healed();
    await eventually(() => selfCheck(opened.connection, SAFE), 10_000);
  }, 40_000);

  test("without min-replicas-to-write it is not served from, but with DURABILITY=fast", async () => {
    const [master] = await topology.masters();
    await master?.command("CONFIG", "SET", "min-replicas-to-write", 0);
    expect(await selfCheck(opened.connection, SAFE)).toEqual({
      faults: ["min-replicas-to-write is 0: a failover would lose changes; set 1 or more, or DURABILITY=fast"],
      warnings: [
        "appendfsync is not always: a power cut, or a crash of Redis, can lose the last moments (DURABILITY=fast accepts that)",
      ],
    });
    expect(await selfCheck(opened.connection, { ...SAFE, durability: "fast" })).toEqual({ faults: [], warnings: [] });
    await master?.command("CONFIG", "SET", "min-replicas-to-write", 1);
    expect(await selfCheck(opened.connection, SAFE)).toEqual({ faults: [], warnings: [] });
  });

  test("with DURABILITY=fast it does not wait for replicas", async () => {
    const fast = await openStore(topology.redisUrl, false);
    for (const replica of await replicas()) replica.suspend();
    await create(fast.store, "fast");
    for (const replica of await replicas()) replica.resume();
    fast.connection.close();
  });
});

describe("in a Cluster", () => {
  let topology: ClusterTopology;
  let opened: Awaited<ReturnType<typeof openStore>>;
  beforeAll(async () => {
    topology = await startCluster({ nodeTimeoutMs: 1500 });
    opened = await openStore(topology.redisUrl);
  }, 30_000);
  afterAll(async () => {
    opened?.connection.close();
    await topology?.stop();
  });

  test("tokens live and die on every master", async () => {
    const organizations = Array.from({ length: 12 }, (_, at) => `organization-${at}`);
    await Promise.all(organizations.map((organization) => livesAndDies(opened.store, organization)));
  });

  test("while a slot moves its tokens are read, and their changes refused as not applied or made", async () => {
    const slot = calculateSlot(indexKey(organizationTag("acme")));
    const uid = uidOf(await create(opened.store, "moving"));
    const owner = await topology.masterOfSlot(slot);
    const [target] = (await topology.masters()).filter((node) => node !== owner);
    if (target === undefined) throw new Error("no other master");
    let renewals = 0;
    let unknown = 0;
    let steps = 0;
    await topology.migrateSlot(slot, target, {
      keysPerStep: 1,
      pause: async () => {
        steps += 1;
        expect(await opened.store.read(uid)).toMatchObject({ token: { uid } });
        await renew(opened.store, "moving").then(
          () => (renewals += 1),
          // On a slow machine the last of several tries may go without an answer.
          ({ reason }: ApiTokenError) => {
            expect(["STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"]).toContain(reason);
            if (reason === "OUTCOME_UNKNOWN") unknown += 1;
          },
        );
      },
    });
    expect(steps).toBeGreaterThan(5);
    expect(await topology.masterOfSlot(slot)).toBe(target);
    const last = await eventually(() => renew(opened.store, "moving"));
    const generation = last.outcome === "renewed" ? last.token.generation : Number.NaN;
    expect(generation).toBeGreaterThanOrEqual(renewals + 2);
    expect(generation).toBeLessThanOrEqual(renewals + unknown + 2);
  });

  test("a lost master is replaced, and meanwhile the others' organizations go on", async () => {
    const slotOf = (organization: string) => calculateSlot(indexKey(organizationTag(organization)));
    const lost = await topology.masterOfSlot(slotOf("acme"));
    const names = Array.from({ length: 20 }, (_, at) => `organization-${at}`);
    const masters = await Promise.all(names.map((name) => topology.masterOfSlot(slotOf(name))));
    const other = names.find((_, at) => masters[at] !== lost) ?? "";
    const uid = uidOf(await create(opened.store, "survives"));
    await lost.kill();
    await expect(renew(opened.store, "survives")).rejects.toMatchObject({ name: "ApiTokenError" });
    await create(opened.store, "meanwhile", other);
    // The replica that took over has none of its own until the lost one is back.
    await eventually(() => expect(topology.masterOfSlot(slotOf("acme"))).resolves.not.toBe(lost), 12_000);
    await topology.healed();
    const { generation } = await eventually(async () => {
      const reading = await opened.store.read(uid);
      if (reading === undefined) throw new Error("lost");
      return reading.token;
    }, 10_000);
    expect(await eventually(() => renew(opened.store, "survives"), 5000)).toMatchObject({
      token: { generation: generation + 1 },
    });
  }, 40_000);

  test("a URL that does not say that it is a Cluster is refused", async () => {
    const [node] = topology.nodes;
    const connection = new RedisConnection(addressOf(`redis://127.0.0.1:${node?.port}`), { awaitsReplicas: true });
    const { faults } = await eventually(() => selfCheck(connection, SAFE));
    expect(faults).toContain("Redis runs in cluster mode, and REDIS_URL says standalone");
    connection.close();
  });
});
