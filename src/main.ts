#!/usr/bin/env node
// apitokend: the only place that builds the server's parts and joins them.
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import type { Logger } from "pino";
import { AccessTokens } from "./auth/access-tokens.js";
import { Authenticator } from "./auth/authenticator.js";
import { developmentPrincipal } from "./auth/development.js";
import { KeySet, keysByDiscovery, keysFromFile, keysFromUrl } from "./auth/key-set.js";
import { type Config, ConfigError, DEFAULT_LISTEN_ADDRESS, describeConfig, readConfig } from "./config.js";
import { TokenService } from "./domain/token-service.js";
import { TokenVerifier } from "./domain/token-verifier.js";
import { Admission } from "./grpc/admission.js";
import type { Pipeline } from "./grpc/call.js";
import { serverCredentials } from "./grpc/certificates.js";
import { type GrpcServer, type GrpcServerOptions, startGrpcServer } from "./grpc/server.js";
import { openLog } from "./logger.js";
import { Metrics, serveMetrics } from "./metrics.js";
import { RedisConnection } from "./redis/connection.js";
import { startPrivateRedis } from "./redis/private/private-redis.js";
import { findRedisServer } from "./redis/private/redis-server.js";
import type { RedisAddress } from "./redis/redis-address.js";
import { RedisTokenStore } from "./redis/redis-token-store.js";
import { RedisWatch } from "./redis/redis-watch.js";

const MAX_FLUSH_MS = 1000;
/** Found by the fuzzer: test/bad-input/saved-cases.ts. */
const NODE_20 =
  "Node 20: four HTTP/2 frames of anybody who can connect can end this process; use Node 22 or newer on a network";

const USAGE = `Usage: apitokend [--print-config]

Serves API tokens. It is configured by environment variables, which the README lists.
  --print-config  print all of them with the values in force, passwords masked, and end
`;

try {
  const [option, ...others] = process.argv.slice(2);
  if (others.length > 0) usageError();
  else if (option === undefined) await run(readConfig(process.env));
  else if (option === "--print-config") process.stdout.write(describeConfig(process.env));
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
  if (process.versions.node.startsWith("20.")) log.warn(NODE_20);
  const [listeners, keys] = await allOrFaults(
    async () => listenersOf(config, log),
    async () => config.jwt && openKeys(config.jwt.keys, log),
  );
  const store = await openStore(config, log);
  const redis = new RedisConnection(store.address, { awaitsReplicas: config.durability === "safe" });
  const metrics = new Metrics();
  let server: GrpcServer | undefined;
  let metricsServer: Awaited<ReturnType<typeof serveMetrics>> | undefined;
  const watch = new RedisWatch(redis, {
    allowVolatile: config.allowVolatileRedis,
    allowUnverified: config.allowUnverifiedRedis,
    durability: config.durability,
    log,
    listener: (isServing) => server?.health.setServing(isServing),
  });
  try {
    await watch.start();
    const tokens = new RedisTokenStore(redis, config);
    const verifier = new TokenVerifier(tokens, { ...config, count: metrics.countVerification });
    server = await startGrpcServer({
      ...config,
      listeners,
      identify: identification(config, keys, verifier),
      admission: new Admission(config),
      countRefused: metrics.countRefused,
      log,
      tokens: new TokenService(tokens, config),
      verifier,
    });
    if (config.metricsAddress !== undefined) metricsServer = await serveMetrics(metrics, config.metricsAddress);
    server.health.setServing(watch.isServing);
    process.stdout.write(welcome(config, server.addresses, metricsServer?.address, store.description));
    await stopSignal(log);
    watch.stop();
    await server.drain();
  } finally {
    watch.stop();
    metricsServer?.close();
    redis.close();
    await store.close();
    log.info("stopped");
    // A write that its reader stalls would hold up our end as well.
    if (!(await flush(MAX_FLUSH_MS))) process.kill(process.pid, "SIGKILL");
  }
}

/** The Redis to use, and how to let go of it. */
interface Store {
  readonly address: RedisAddress;
  readonly description: string;
  close(): Promise<void>;
}

async function openStore(config: Config, log: Logger): Promise<Store> {
  if (config.redisAddress !== undefined) {
    const where = { standalone: "the Redis", sentinel: "the Sentinels' Redis", cluster: "the Redis Cluster" };
    const description = `${where[config.redisAddress.kind]} of REDIS_URL`;
    return { address: config.redisAddress, description, close: async () => {} };
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
  const address = { kind: "standalone", url: redis.socketPath, options: {} } as const;
  return { address, description, close: () => redis.stop() };
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

/** What both give; throws ConfigError with the faults of both. */
async function allOrFaults<A, B>(openA: () => Promise<A>, openB: () => Promise<B>): Promise<[A, B]> {
  const results = await Promise.allSettled([openA(), openB()]);
  const [a, b] = results;
  if (a.status === "fulfilled" && b.status === "fulfilled") return [a.value, b.value];
  const reasons: unknown[] = results.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
  throw new ConfigError(
    reasons.flatMap((reason) => (reason instanceof ConfigError ? reason.faults : [String(reason)])),
  );
}

/** Throws ConfigError when the files of TLS cannot be used. */
function listenersOf({ listenAddress, mtls, tls }: Config, log: Logger): GrpcServerOptions["listeners"] {
  const credentials = (clientCaFile?: string) => serverCredentials(tls && { ...tls, clientCaFile }, log);
  try {
    return [
      ...(listenAddress === undefined ? [] : [{ address: listenAddress, credentials: credentials() }]),
      ...(mtls === undefined ? [] : [{ address: mtls.listenAddress, credentials: credentials(mtls.clientCaFile) }]),
    ];
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw new ConfigError([`TLS_CERT_FILE, TLS_KEY_FILE and TLS_CLIENT_CA_FILE cannot be used: ${text}`]);
  }
}

/** The keys, read a first time. A file must be good from the start; an issuer may come up later than we do. */
async function openKeys({ kind, at }: NonNullable<Config["jwt"]>["keys"], log: Logger): Promise<KeySet> {
  const source = { url: keysFromUrl, file: keysFromFile, discovery: keysByDiscovery }[kind](at);
  const keys = new KeySet(source, { nowMs: () => performance.now(), warn: (text) => log.warn(text) });
  const isKnown = await keys.warm();
  if (kind === "file" && !isKnown) throw new ConfigError(["JWT_JWKS_FILE cannot be read as a JSON Web Key Set"]);
  return keys;
}

function identification(config: Config, keys: KeySet | undefined, verifier: TokenVerifier): Pipeline["identify"] {
  if (config.isDevelopment) return developmentPrincipal;
  const accessTokens = config.jwt && keys && new AccessTokens(keys, config.jwt);
  const authenticator = new Authenticator({ ...config, accessTokens, verifier });
  return (metadata, clientCertificate) => authenticator.identify(metadata, clientCertificate);
}

function welcome(
  config: Config,
  addresses: readonly string[],
  metricsAddress: string | undefined,
  storeDescription: string,
): string {
  const [address = ""] = addresses;
  const metrics = metricsAddress === undefined ? "" : `Metrics are at http://${metricsAddress}/metrics.\n`;
  const text = `
apitokend listens on ${addresses.join(" and ")} and keeps its tokens in ${storeDescription}.
${metrics}`;
  if (!config.isDevelopment) return `${text}\n`;
  const server = address === DEFAULT_LISTEN_ADDRESS ? "" : `--server ${address} `;
  return `${text}DEVELOPMENT MODE: no authentication, no TLS, loopback only; callers are whoever they say they are.

Try, in another terminal:
  npx apitoken ${server}-c 'CREATE API_TOKEN my_token; LIST API_TOKENS'
  npx buf curl --protocol grpc --http2-prior-knowledge http://${address}/apitoken.v1.ApiTokenService/ListTokens

`;
}
