// A real server process whose Redis goes away and comes back: it fails fast, says so, keeps its memory, and serves again by
// itself.
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { credentials, Metadata } from "@grpc/grpc-js";
import { afterEach, expect, test } from "@jest/globals";
import { HealthCheckResponse_ServingStatus, HealthClient } from "../gen/grpc/health/v1/health.js";
import { type Standalone, startStandalone } from "./faults/standalone.js";
import { eventually, type RpcError } from "./harness.js";
import { clients, type ServerProcess, startServerProcess } from "./server-process.js";

const CALLERS = 16;
const OUTAGE_MS = 5000;
/** A process that has just started grows whether it has a Redis or not. */
const WARM_CALLS = 3000;
/** What the callers, who share the machine with the server, may add to the 600 ms of a call. */
const OWN_DELAY_MS = 250;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start() {
  const redis = await startStandalone({ appendFsync: "always" });
  cleanups.push(() => redis.stop());
  const rates = ["VerifyToken", "RenewToken", "CreateToken"].map((rpc) => `${rpc}=1000000`).join(" ");
  const limits = { CALL_RATES: rates, FAILED_VERIFICATION_RATE: "1000000", LOG_LEVEL: "warn" };
  const server = startServerProcess({ REDIS_URL: redis.redisUrl, ...limits });
  cleanups.push(() => server.stop());
  const address = await server.listening();
  const client = clients(address);
  const health = new HealthClient(address, credentials.createInsecure());
  cleanups.push(() => health.close(), client.close);
  return { redis, server, ...client, health };
}

/** When the health service said what, from now on. */
function watchHealth(health: HealthClient) {
  const changes: { isServing: boolean; atMs: number }[] = [];
  const stream = health.watch({ service: "" }, new Metadata());
  stream.on("data", ({ status }: { status: HealthCheckResponse_ServingStatus }) => {
    changes.push({ isServing: status === HealthCheckResponse_ServingStatus.SERVING, atMs: performance.now() });
  });
  stream.on("error", () => {});
  cleanups.push(() => stream.cancel());
  const untilMs = (isServing: boolean, fromMs: number) =>
    eventually(() => {
      const change = changes.find((one) => one.isServing === isServing && one.atMs > fromMs);
      if (change === undefined) throw new Error(`health has not come to ${isServing}`);
      return change.atMs - fromMs;
    }, 8000);
  return { untilMs };
}

function memoryMb({ child }: ServerProcess): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1]) / 1024;
}

/** Callers that go on for as long as it takes, and what they met. */
function startCallers({ tokens, verification }: ReturnType<typeof clients>, token: string) {
  const refusals: { error: RpcError; durationMs: number }[] = [];
  let isOver = false;
  let answered = 0;
  const call = async (at: number) => {
    const startMs = performance.now();
    try {
      if (at % 2 === 0) await verification.verifyToken({ token });
      else await tokens.renewToken({ name: `token-${at}` });
      answered += 1;
    } catch (error) {
      refusals.push({ error: error as RpcError, durationMs: performance.now() - startMs });
      await delay(5);
    }
  };
  const callers = Array.from({ length: CALLERS }, async (_, at) => {
    while (!isOver) await call(at);
  });
  const end = async () => {
    isOver = true;
    await Promise.all(callers);
  };
  cleanups.push(end);
  return { refusals, answered: () => answered, end };
}

const outages: readonly (readonly [
  string,
  (redis: Standalone) => Promise<void>,
  (redis: Standalone) => Promise<void>,
])[] = [
  ["is killed", ({ node }) => node.kill(), ({ node }) => node.start()],
  ["hangs", async ({ node }) => node.suspend(), async ({ node }) => node.resume()],
];

test.each(outages)(
  "a Redis that %s: UNAVAILABLE within 600 ms, NOT_SERVING and back within 2 s",
  async (_how, away, back) => {
    const { redis, server, tokens, verification, close, health } = await start();
    const { token } = await tokens.createToken({ name: "verified" });
    for (let at = 1; at < CALLERS; at += 2) await tokens.createToken({ name: `token-${at}` });
    const { untilMs } = watchHealth(health);
    const callers = startCallers({ tokens, verification, close }, token);
    await eventually(() => expect(callers.answered()).toBeGreaterThan(WARM_CALLS), 20_000);
    expect(callers.refusals).toEqual([]);
    const beforeMb = memoryMb(server);

    const awayMs = performance.now();
    await away(redis);
    expect(await untilMs(false, awayMs)).toBeLessThan(2000);
    await delay(OUTAGE_MS);
    expect(memoryMb(server)).toBeLessThan(beforeMb + 30);
    const backMs = performance.now();
    await back(redis);
    expect(await untilMs(true, backMs)).toBeLessThan(2000);
    expect(await eventually(() => verification.verifyToken({ token }))).toMatchObject({ active: true });
    await tokens.renewToken({ name: "verified" });
    expect(performance.now() - backMs).toBeLessThan(2000);
    await callers.end();

    expect(callers.refusals.length).toBeGreaterThan(100);
    for (const { error } of callers.refusals) expect(error.code).toBe("UNAVAILABLE");
    expect(Math.max(...callers.refusals.map(({ durationMs }) => durationMs))).toBeLessThan(600 + OWN_DELAY_MS);
    expect(server.child.exitCode).toBeNull();
  },
  60_000,
);
