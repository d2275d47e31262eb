#!/usr/bin/env node
// apitokend: the command line, the private Redis, the workers and the signals. src/serve.ts has what serves.
import cluster from "node:cluster";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import type { Logger } from "pino";
import { type Config, DEFAULT_LISTEN_ADDRESS, describeConfig, readConfig } from "./config.js";
import { openLog } from "./logger.js";
import { Metrics, serveMetrics, workersMetrics } from "./metrics.js";
import { startPrivateRedis } from "./redis/private/private-redis.js";
import { findRedisServer } from "./redis/private/redis-server.js";
import type { RedisAddress } from "./redis/redis-address.js";
import { readMaterials, startServing } from "./serve.js";
import { version } from "./version.js";
import { drainAsked, reportListening, Workers } from "./workers.js";

const MAX_FLUSH_MS = 1000;
/** Found by the fuzzer: test/bad-input/saved-cases.ts. */
const NODE_20 =
  "Node 20: four HTTP/2 frames of anybody who can connect can end this process; use Node 22 or newer on a network";

const USAGE = `Usage: apitokend [--print-config | --version | --help]

Serves API tokens. It is configured by environment variables, which docs/configuration.md of its sources lists.
  --print-config  print all of them with the values in force, passwords masked, and end
`;

try {
  const [option, ...others] = process.argv.slice(2);
  if (others.length > 0) usageError();
  else if (option === undefined) await run(readConfig(process.env));
  else if (option === "--print-config") process.stdout.write(describeConfig(process.env));
  else if (option === "--version") process.stdout.write(`apitokend ${version()}\n`);
  else if (option === "--help") process.stdout.write(USAGE);
  else usageError();
  // Not when the event loop is empty: an idle peer of a connection could keep us for ever.
  process.exit(0);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}

function usageError(): never {
  process.stderr.write(USAGE);
  process.exit(2);
}

async function run(config: Config): Promise<void> {
  const { log, flush } = openLog(config.logLevel);
  try {
    if (cluster.isWorker) await work(config, log);
    else await serve(config, log);
  } finally {
    log.info("stopped");
    // A write that its reader stalls would hold up our end as well.
    if (!(await flush(MAX_FLUSH_MS))) process.kill(process.pid, "SIGKILL");
  }
}

/** Serves until a signal comes, by this process or by several. */
async function serve(config: Config, log: Logger): Promise<void> {
  if (process.versions.node.startsWith("20.")) log.warn(NODE_20);
  const materials = await readMaterials(config, log);
  const store = await openStore(config, log);
  const metrics = new Metrics();
  const isAlone = config.workers === 1;
  if (isAlone && config.metricsAddress !== undefined) metrics.measureProcess();
  let metricsServer: Awaited<ReturnType<typeof serveMetrics>> | undefined;
  try {
    const server = isAlone
      ? await startServing(config, store.address, materials, metrics, log)
      : await Workers.start(config.workers, store.workerEnv, log);
    if (config.metricsAddress !== undefined) {
      metricsServer = await serveMetrics(isAlone ? () => metrics.text() : workersMetrics(), config.metricsAddress);
    }
    process.stdout.write(welcome(config, server.addresses, metricsServer?.address, store.description));
    await stopSignal(log);
    await server.stop();
  } finally {
    metricsServer?.close();
    await store.close();
  }
}

/** One of several processes that serve. */
async function work(config: Config, log: Logger): Promise<void> {
  const drained = drainAsked();
  const { redisAddress } = config;
  if (redisAddress === undefined) throw new Error("a worker has no Redis of its own");
  const metrics = new Metrics();
  if (config.metricsAddress !== undefined) metrics.measureProcess();
  metrics.answerPrimary();
  const server = await startServing(config, redisAddress, await readMaterials(config, log), metrics, log);
  reportListening(server.addresses);
  await drained;
  await server.stop();
}

/** The Redis to use, and how to let go of it. */
interface Store {
  readonly address: RedisAddress;
  /** What tells workers of it, beside our own variables. */
  readonly workerEnv: Readonly<Record<string, string>>;
  readonly description: string;
  close(): Promise<void>;
}

async function openStore(config: Config, log: Logger): Promise<Store> {
  if (config.redisAddress !== undefined) {
    const where = { standalone: "the Redis", sentinel: "the Sentinels' Redis", cluster: "the Redis Cluster" };
    const description = `${where[config.redisAddress.kind]} of REDIS_URL`;
    return { address: config.redisAddress, workerEnv: {}, description, close: async () => {} };
  }
  const server = await findRedisServer({
    explicitPath: config.redisServerBin,
    searchPath: process.env["PATH"] ?? "",
    cacheDir: join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "api-token-service"),
    report: (line) => process.stdout.write(`${line}\n`),
  });
  const dataDir = resolve(config.dataDir);
  const redis = await startPrivateRedis({
    server,
    dataDir,
    appendFsync: config.durability === "safe" ? "always" : "everysec",
    log,
  });
  const description = `a private Redis ${server.version} in ${dataDir}`;
  const address = { kind: "standalone", options: { path: redis.socketPath } } as const;
  const workerEnv = { REDIS_URL: `unix://${redis.socketPath}` };
  return { address, workerEnv, description, close: () => redis.stop() };
}

/**
 * Resolves at the first SIGTERM or SIGINT; the second one ends the process at once, and so does one that comes while
 * it is still starting: the private Redis ends with us in any case.
 */
function stopSignal(log: Logger): Promise<void> {
  return new Promise((resolve) => {
    let isStopping = false;
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.on(signal, () => {
        if (isStopping) process.exit(1);
        isStopping = true;
        log.info({ signal }, "stopping");
        resolve();
      });
    }
  });
}

function welcome(
  config: Config,
  addresses: readonly string[],
  metricsAddress: string | undefined,
  storeDescription: string,
): string {
  const [address = ""] = addresses;
  const health =
    config.healthAddress === undefined ? "" : `Health alone, without TLS, is at ${config.healthAddress}.\n`;
  const metrics = metricsAddress === undefined ? "" : `Metrics are at http://${metricsAddress}/metrics.\n`;
  const text = `
apitokend listens on ${addresses.join(" and ")} and keeps its tokens in ${storeDescription}.
${health}${metrics}`;
  if (!config.isDevelopment) return `${text}\n`;
  const server = address === DEFAULT_LISTEN_ADDRESS ? "" : `--server ${address} `;
  return `${text}DEVELOPMENT MODE: no authentication, no TLS, loopback only; callers are whoever they say they are.

Try, in another terminal:
  npx apitoken ${server}-c 'CREATE API_TOKEN my_token; LIST API_TOKENS'
  npx buf curl --protocol grpc --http2-prior-knowledge http://${address}/apitoken.v1.ApiTokenService/ListTokens

`;
}
