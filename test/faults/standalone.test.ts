// A Redis by itself goes down and comes back as in production, and leaves nothing behind.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { afterEach, expect, test } from "@jest/globals";
import { Redis } from "ioredis";
import { processStart } from "../../src/redis/private/processes.js";
import { eventually, temporaryFolder } from "../harness.js";
import { stopAndLookForLeftovers } from "./leftovers.js";
import { type StandaloneOptions, startStandalone } from "./standalone.js";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function started(options?: StandaloneOptions) {
  const redis = await startStandalone(options);
  cleanups.push(() => stopAndLookForLeftovers(redis));
  return redis;
}

test("a Redis that is killed has its data when it comes back, on the same port", async () => {
  const redis = await started();
  const { node, redisUrl } = redis;
  await node.command("SET", "key", "kept");
  const { port, pid } = node;
  await node.kill();
  expect(node.pid).toBeUndefined();
  await expect(node.command("GET", "key")).rejects.toThrow();
  await node.start();
  expect(await node.command("GET", "key")).toBe("kept");
  expect(redisUrl).toBe(`redis://127.0.0.1:${port}`);
  expect(node.pid).not.toBe(pid);
  await node.restart();
  await redis.healed();
  expect(await node.command("GET", "key")).toBe("kept");
});

test("a Redis that is suspended does not answer, and does when it is resumed", async () => {
  const { node } = await started();
  const own = new Redis(node.port, "127.0.0.1", { commandTimeout: 500 });
  cleanups.push(() => own.disconnect());
  expect(await own.ping()).toBe("PONG");
  node.suspend();
  await expect(own.set("key", 1)).rejects.toThrow("Command timed out");
  node.resume();
  await eventually(async () => expect(await own.get("key")).toBe("1"));
});

test("a Redis keeps its data in the folder that it is given, and has the settings", async () => {
  const folder = await temporaryFolder();
  cleanups.push(() => folder.remove());
  const first = await startStandalone({ folder: folder.path, appendFsync: "always" });
  await first.node.command("SET", "key", "kept");
  await first.stop();
  const { node } = await started({ folder: folder.path, settings: { maxmemory: "100mb" } });
  expect(await node.command("GET", "key")).toBe("kept");
  expect(await node.command("CONFIG", "GET", "maxmemory")).toEqual(["maxmemory", "104857600"]);
});

test("a Redis that ends by itself is down, and healed brings it back", async () => {
  const redis = await started();
  const { node } = redis;
  await node.command("SHUTDOWN").catch(() => undefined);
  await eventually(() => expect(node.pid).toBeUndefined());
  await redis.healed();
  expect(await node.command("PING")).toBe("PONG");
});

test("a Redis and its folder do not outlive the test: it ends with a process that is killed", async () => {
  const script = `
    import { startStandalone } from ${JSON.stringify(new URL("./standalone.js", import.meta.url).href)};
    const { node } = await startStandalone();
    console.log(node.pid);`;
  const folder = await temporaryFolder();
  cleanups.push(() => folder.remove());
  const owner = spawn(process.execPath, ["--input-type=module", "-e", script], {
    env: { ...process.env, TMPDIR: folder.path },
  });
  const [line] = (await once(owner.stdout, "data")) as [Buffer];
  const pid = Number(line);
  expect(await processStart(pid)).toBeDefined();
  owner.kill("SIGKILL");
  await eventually(async () => expect(await processStart(pid)).toBeUndefined());
});

test("stopping leaves no folder behind", async () => {
  const foldersOf = async () => (await readdir(tmpdir())).filter((name) => name.startsWith("apitoken-"));
  const before = await foldersOf();
  const topology = await startStandalone();
  const [own] = (await foldersOf()).filter((name) => !before.includes(name));
  expect(own).toBeDefined();
  await topology.stop();
  expect(await foldersOf()).not.toContain(own);
});
