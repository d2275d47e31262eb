// A master under Sentinels is killed and cut off, and everything heals as in production.
import { afterEach, expect, test } from "@jest/globals";
import { Redis } from "ioredis";
import { eventually } from "../harness.js";
import { stopAndLookForLeftovers } from "./leftovers.js";
import type { RedisNode } from "./redis-node.js";
import { type Sentinels, startSentinels } from "./sentinel.js";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function started() {
  const topology = await startSentinels();
  cleanups.push(() => stopAndLookForLeftovers(topology, [...topology.nodes, ...topology.sentinels]));
  return topology;
}

/** Calls itself what the service does. */
function client(node: { readonly port: number }): Redis {
  const redis = new Redis(node.port, "127.0.0.1", { connectionName: "apitokend-test", commandTimeout: 500 });
  redis.on("error", () => undefined);
  cleanups.push(() => redis.disconnect());
  return redis;
}

async function theMaster(topology: Sentinels): Promise<RedisNode> {
  const [master, ...others] = await topology.masters();
  if (master === undefined || others.length > 0) throw new Error("there is not one master");
  return master;
}

const linked = (count: number, master: RedisNode) => expect(master.command("WAIT", count, 1000)).resolves.toBe(count);

async function roleOf(node: RedisNode): Promise<unknown> {
  return ((await node.command("ROLE")) as unknown[])[0];
}

test("Sentinels replace a master that is killed, and it comes back as a replica", async () => {
  const topology = await started();
  const old = await theMaster(topology);
  await old.command("SET", "key", "kept");
  await linked(2, old);
  await old.kill();
  const fresh = await eventually(async () => {
    const master = await theMaster(topology);
    if (master === old) throw new Error("still the old one");
    expect(await master.command("SET", "later", 1)).toBe("OK");
    return master;
  }, 6000);
  await topology.healed();
  expect(await theMaster(topology)).toBe(fresh);
  expect(await old.command("MGET", "key", "later")).toEqual(["kept", "1"]);
  expect(await roleOf(old)).toBe("slave");
});

test("a master that is cut off from all but services writes on until it misses its replicas, and loses that", async () => {
  const topology = await started();
  const old = await theMaster(topology);
  const service = client(topology.proxyOf(old));
  await service.set("replicated", 1);
  await linked(2, old);

  topology.partition(old, { from: "everybody but services" });
  expect(await service.set("lost", 1)).toBe("OK");
  const refusal = () => service.set("late", 1).then(() => Promise.reject(new Error("written")), String);
  expect(await eventually(refusal, 6000)).toContain("NOREPLICAS");
  const fresh = await eventually(async () => {
    const master = await theMaster(topology);
    if (master === old) throw new Error("still the old one");
    return master;
  }, 6000);
  expect(await fresh.command("MGET", "replicated", "lost")).toEqual(["1", null]);
  expect(await old.command("MGET", "replicated", "lost")).toEqual(["1", "1"]);
  expect(await roleOf(old)).toBe("master");

  topology.reunite();
  await topology.healed();
  expect(await theMaster(topology)).toBe(fresh);
  expect(await roleOf(old)).toBe("slave");
  expect(await old.command("MGET", "replicated", "lost")).toEqual(["1", null]);
});

test("a replica and a Sentinel that are cut off from everybody are alone, and change nothing", async () => {
  const topology = await started();
  const master = await theMaster(topology);
  const [replica] = topology.nodes.filter((node) => node !== master);
  const [sentinel, other] = topology.sentinels;
  if (replica === undefined || sentinel === undefined || other === undefined) throw new Error("too few");
  await linked(2, master);

  topology.partition([replica, sentinel], { from: "everybody" });
  const service = client(topology.proxyOf(replica));
  await expect(service.ping()).rejects.toThrow("Command timed out");
  await master.command("SET", "key", 1);
  expect(await master.command("WAIT", 2, 500)).toBe(1);
  // The two still talk to each other: only what is on the other side is down for them.
  const downFor = async (by: RedisNode, what: "REPLICAS" | "SENTINELS") => {
    const others = (await by.command("SENTINEL", what, "mymaster")) as string[][];
    return others.filter((fields) => fields[fields.indexOf("flags") + 1]?.includes("s_down")).length;
  };
  await eventually(async () => {
    expect([await downFor(sentinel, "REPLICAS"), await downFor(sentinel, "SENTINELS")]).toEqual([1, 2]);
    expect([await downFor(other, "REPLICAS"), await downFor(other, "SENTINELS")]).toEqual([1, 1]);
  });
  expect(await theMaster(topology)).toBe(master);

  topology.reunite();
  await topology.healed();
  expect(await theMaster(topology)).toBe(master);
  expect(await replica.command("GET", "key")).toBe("1");
});
