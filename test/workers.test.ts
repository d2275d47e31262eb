// WORKERS: processes that share a port and one private Redis, of which any may die.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { HealthCheckResponse_ServingStatus, HealthClient } from "../gen/grpc/health/v1/health.js";
import { eventually, temporaryFolder } from "./harness.js";
import { clients, metricsOf, type ServerProcess, startServerProcess } from "./server-process.js";

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
const cleanups: (() => unknown)[] = [];
beforeEach(async () => {
  folder = await temporaryFolder();
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await folder.remove();
});

function start(env: Readonly<Record<string, string>> = {}): ServerProcess {
  const server = startServerProcess({ DATA_DIR: join(folder.path, "data"), WORKERS: "2", ...env });
  cleanups.push(() => server.stop("SIGTERM"));
  return server;
}

/** Clients on so many connections, which the primary deals out in turns. */
function connections(address: string, count: number) {
  const all = Array.from({ length: count }, () => clients(address));
  cleanups.push(() => {
    for (const { close } of all) close();
  });
  return all;
}

/** The workers, by the process that their calls' ids name. */
function workersOf(server: ServerProcess): ReadonlySet<string> {
  const ids = server.printed.stderr.matchAll(/"call_id":"([0-9a-f]+)-/g);
  return new Set(Array.from(ids, ([, id = ""]) => id));
}

/** The children of the server that are Node. */
function workerPids({ child }: ServerProcess): number[] {
  const pids = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").trim().split(" ").map(Number);
  return pids.filter((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("apitokend.js"));
}

test("calls are served by all, metrics are their sum, and SIGTERM drains all", async () => {
  const server = start({ METRICS_ADDRESS: "127.0.0.1:0", LOG_LEVEL: "debug" });
  const address = await server.listening();
  const [first, ...others] = connections(address, 8);
  const token = (await first?.tokens.createToken({ name: "my_token" }))?.token ?? "";
  await Promise.all(others.map(({ verification }) => verification.verifyToken({ token })));
  await eventually(() => expect(workersOf(server).size).toBe(2));
  const { samples } = await metricsOf(server);
  const verify = "apitoken.v1.TokenVerificationService/VerifyToken";
  const labels = `rpc_system_name="grpc",rpc_method="${verify}",rpc_response_status_code="OK"`;
  expect(samples.get('apitoken_verifications_total{answer="current"}')).toBe(others.length);
  expect(samples.get(`rpc_server_call_duration_seconds_count{${labels}}`)).toBe(others.length);
  expect(samples.get(`rpc_server_call_duration_seconds_bucket{${labels},le="+Inf"}`)).toBe(others.length);
  // Not added up: each worker tells the same.
  expect(samples.get("apitoken_serving")).toBe(1);
  expect(samples.get('apitoken_build_info{version="0.1.0"}')).toBe(1);
  expect(samples.get("nodejs_eventloop_lag_max_seconds")).toBeGreaterThan(0);
  // One of them has counted the tokens, before there was one, and both tell.
  expect(samples.get('apitoken_tokens_expiring{within="30d"}')).toBe(0);
  const health = new HealthClient(address, credentials.createInsecure());
  cleanups.push(() => health.close());
  const { status } = await new Promise<{ status: unknown }>((resolve, reject) =>
    health.check({ service: "" }, (error, answer) => (error ? reject(error) : resolve(answer))),
  );
  expect(status).toBe(HealthCheckResponse_ServingStatus.SERVING);
  expect(await server.stop("SIGTERM")).toBe(0);
});

test("a worker that dies is replaced, and no call but its own is lost", async () => {
  const server = start({ CALL_RATES: "GetToken=1000000", LOG_LEVEL: "warn" });
  const all = connections(await server.listening(), 8);
  const names = all.map((_, at) => `token-${at}`);
  await Promise.all(all.map(({ tokens }, at) => tokens.createToken({ name: names[at] ?? "" })));
  const before = workerPids(server);
  expect(before).toHaveLength(2);
  let isOver = false;
  cleanups.push(() => {
    isOver = true;
  });
  const failures = all.map(async ({ tokens }, at) => {
    let failed = 0;
    while (!isOver) await tokens.getToken({ name: names[at] ?? "" }).catch(() => (failed += 1));
    return failed;
  });
  process.kill(before[0] ?? 0, "SIGKILL");
  await eventually(() => {
    const now = workerPids(server);
    expect(now).toHaveLength(2);
    expect(now).not.toContain(before[0]);
  }, 10_000);
  isOver = true;
  const lost = await Promise.all(failures);
  // Each of its own connections had one call under way.
  expect(lost).toContain(0);
  expect(lost).toContain(1);
  expect(Math.max(...lost)).toBe(1);
  expect(server.log().some(({ msg }) => msg === "a worker ended and is replaced")).toBe(true);
  for (const { tokens } of connections(await server.listening(), 4)) await tokens.getToken({ name: "token-0" });
  expect(await server.stop("SIGTERM")).toBe(0);
});

test("workers end with their primary, and Redis too", async () => {
  const server = start();
  await server.listening();
  const pids = workerPids(server);
  await server.stop("SIGKILL");
  await eventually(() => {
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow("ESRCH");
  });
});

test("workers that cannot start end the server, with the reason", async () => {
  const first = start();
  const address = await first.listening();
  const second = start({ LISTEN_ADDRESS: address, DATA_DIR: join(folder.path, "other") });
  expect(await second.exited).toBe(1);
  expect(second.printed.stderr).toContain("EADDRINUSE");
  expect(second.printed.stderr).toContain("a worker could not start");
});
