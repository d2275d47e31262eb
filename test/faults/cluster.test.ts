// A cluster's master is killed and a slot of it moves, as in production.
import { afterEach, expect, test } from "@jest/globals";
import { Cluster } from "ioredis";
import { eventually } from "../harness.js";
import { type ClusterTopology, startCluster } from "./cluster.js";
import { stopAndLookForLeftovers } from "./leftovers.js";
import type { RedisNode } from "./redis-node.js";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function started() {
  const cluster = await startCluster({ nodeTimeoutMs: 1500 });
  cleanups.push(() => stopAndLookForLeftovers(cluster));
  return cluster;
}

/** A slot of the first master, and keys in it. */
async function filledSlot(cluster: ClusterTopology, keyCount: number) {
  const slot = Number(await cluster.nodes[0]?.command("CLUSTER", "KEYSLOT", "{a}"));
  const keys = Array.from({ length: keyCount }, (_, at) => `{a}:${at}`);
  const owner = await cluster.masterOfSlot(slot);
  for (const key of keys) await owner.command("SET", key, key);
  return { slot, keys, owner };
}

test("the replica of a cluster's master that is killed takes over, and the master comes back as its replica", async () => {
  const startedMs = performance.now();
  const cluster = await started();
  expect(performance.now() - startedMs).toBeLessThan(5000);
  expect(await cluster.masters()).toHaveLength(3);
  const { slot, keys, owner } = await filledSlot(cluster, 3);
  expect(await owner.command("WAIT", 1, 1000)).toBe(1);
  await owner.kill();
  const fresh = await eventually(async () => {
    const master = await cluster.masterOfSlot(slot);
    if (master === owner) throw new Error("still the old one");
    return master;
  }, 12_000);
  expect(await fresh.command("MGET", ...keys)).toEqual(keys);
  await expect(fresh.command("SET", "{a}", 1)).rejects.toThrow("NOREPLICAS");
  await cluster.healed();
  expect(await owner.command("ROLE")).toEqual(expect.arrayContaining(["slave", fresh.port]));
  expect(await cluster.masters()).toHaveLength(3);
});

test("a slot moves to another master while clients read and write it", async () => {
  const cluster = await started();
  const { slot, keys, owner } = await filledSlot(cluster, 20);
  const target = (await cluster.masters()).find((node) => node !== owner);
  const [first = "", last = ""] = [keys[0], keys.at(-1)];
  if (target === undefined) throw new Error("no other master");
  const reader = new Cluster(cluster.nodes.map(({ port }) => ({ host: "127.0.0.1", port })));
  cleanups.push(() => reader.disconnect());

  const steps: string[] = [];
  const replies: string[] = [];
  const noteReply = async (node: RedisNode, ...command: string[]) =>
    replies.push(await node.command(...command).then(String, (error: Error) => error.message.split(" ", 1).join()));
  await cluster.migrateSlot(slot, target, {
    keysPerStep: 7,
    pause: async (step) => {
      steps.push(step);
      for (const key of keys) expect(await reader.get(key)).toBe(key);
      await reader.set("{a}:new", steps.length);
      await noteReply(owner, "GET", first);
      await noteReply(owner, "MGET", first, last);
      if (step === "importing") await noteReply(target, "GET", first);
    },
  });
  expect(steps).toEqual([
    "importing",
    "migrating",
    "moved 7",
    "moved 7",
    "moved 7",
    expect.stringContaining("told"),
    expect.stringContaining("told"),
    expect.stringContaining("told"),
  ]);
  for (const met of ["MOVED", "ASK", "TRYAGAIN"]) expect(replies).toContain(met);
  expect(await cluster.masterOfSlot(slot)).toBe(target);
  expect(await target.command("MGET", ...keys, "{a}:new")).toEqual([...keys, String(steps.length)]);
  await cluster.healed();
});
