#!/usr/bin/env node
// apitokend: the only place that builds the server's parts and joins them.
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { type Logger, pino } from "pino";
import { developmentPrincipal } from "./auth/development.js";
import { type Config, DEFAULT_LISTEN_ADDRESS, readConfig } from "./config.js";
import { TokenService } from "./domain/token-service.js";
import { TokenVerifier } from "./domain/token-verifier.js";
import { type GrpcServer, startGrpcServer } from "./grpc/server.js";
import { RedisConnection } from "./redis/connection.js";
import { startPrivateRedis } from "./redis/private/private-redis.js";
import { findRedisServer } from "./redis/private/redis-server.js";
import { RedisTokenStore } from "./redis/redis-token-store.js";
import { RedisWatch } from "./redis/self-check.js";

const MAX_UNWRITTEN_LOG_BYTES = 1 << 20;

try {
  await run(readConfig(process.env));
  // Not when the event loop is empty: an idle peer of a connection could keep us for ever.
  process.exit(0);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}

async function run(config: Config): Promise<void> {
  const log = pino({ level: config.logLevel, base: null }, logDestination());
  const store = await openStore(config, log);
  const redis = new RedisConnection(store.url);
  let server: GrpcServer | undefined;
  const watch = new RedisWatch(redis, {
    allowVolatile: config.allowVolatileRedis,
    allowUnverified: config.allowUnverifiedRedis,
    log,
    listener: (isServing) => server?.health.setServing(isServing),
  });
  try {
    await watch.start();
    const tokens = new RedisTokenStore(redis, config);
    server = await startGrpcServer({
      address: config.listenAddress,
      identify: developmentPrincipal,
      log,
      tokens: new TokenService(tokens, config),
      verifier: new TokenVerifier(tokens, config.tokenPrefix),
    });
    server.health.setServing(watch.isServing);
    process.stdout.write(welcome(server.address, store.description));
    await stopSignal(log);
    watch.stop();
    await server.drain();
  } finally {
    watch.stop();
    redis.close();
    await store.close();
  }
  log.info("stopped");
}

/** Standard error, written at once. A full disk costs lines, not the service. */
function logDestination() {
  return pino.destination({ dest: 2, sync: true, maxLength: MAX_UNWRITTEN_LOG_BYTES }).on("error", () => {});
}

/** The Redis to use, and how to let go of it. */
interface Store {
  /** A URL or the path of a unix socket. */
  readonly url: string;
  readonly description: string;
  close(): Promise<void>;
}

async function openStore(config: Config, log: Logger): Promise<Store> {
  if (config.redisUrl !== undefined) {
    const url = config.redisUrl.replace(/^unix:\/\//, "");
    return { url, description: "the Redis of REDIS_URL", close: async () => {} };
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
  return { url: redis.socketPath, description, close: () => redis.stop() };
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

function welcome(address: string, storeDescription: string): string {
  const server = address === DEFAULT_LISTEN_ADDRESS ? "" : `--server ${address} `;
  return `
apitokend listens on ${address} and keeps its tokens in ${storeDescription}.
DEVELOPMENT MODE: no authentication, no TLS, loopback only; callers are whoever they say they are.

Try, in another terminal:
  npx apitoken ${server}-c 'CREATE API_TOKEN my_token; LIST API_TOKENS'
  npx buf curl --protocol grpc --http2-prior-knowledge http://${address}/apitoken.v1.ApiTokenService/ListTokens

`;
}
