// One serving process: builds its parts and joins them. The only wiring beside main.ts, which has the command line, the
// private Redis, the workers and the signals.
import type { Logger } from "pino";
import { AccessTokens } from "./auth/access-tokens.js";
import { Authenticator } from "./auth/authenticator.js";
import { developmentPrincipal } from "./auth/development.js";
import { KeySet, keysByDiscovery, keysFromFile, keysFromUrl } from "./auth/key-set.js";
import { type Config, ConfigError } from "./config.js";
import { TokenService } from "./domain/token-service.js";
import { TokenVerifier } from "./domain/token-verifier.js";
import { Admission } from "./grpc/admission.js";
import type { Pipeline } from "./grpc/call.js";
import { serverCredentials } from "./grpc/certificates.js";
import { type GrpcServer, type GrpcServerOptions, startGrpcServer } from "./grpc/server.js";
import type { Metrics } from "./metrics.js";
import { RedisConnection } from "./redis/connection.js";
import type { RedisAddress } from "./redis/redis-address.js";
import { RedisTokenStore } from "./redis/redis-token-store.js";
import { RedisWatch } from "./redis/redis-watch.js";
import { TokenCensus } from "./redis/token-census.js";

/** What needs neither Redis nor a port. */
export interface Materials {
  readonly listeners: GrpcServerOptions["listeners"];
  readonly keys: KeySet | undefined;
}

/** Reads certificates and keys, before anything is started. Throws ConfigError with the faults of both. */
export async function readMaterials(config: Config, log: Logger): Promise<Materials> {
  const [listeners, keys] = await allOrFaults(
    async () => listenersOf(config, log),
    async () => config.jwt && openKeys(config.jwt.keys, log),
  );
  return { listeners, keys };
}

/** A process that serves. */
export interface Serving {
  /** host:port of each listener. */
  readonly addresses: readonly string[];
  /** Lets running calls end, and then everything else. */
  stop(): Promise<void>;
}

/** Connects to Redis, checks it, and listens. Rejects when Redis may not be served from, or an address cannot be bound. */
export async function startServing(
  config: Config,
  address: RedisAddress,
  { listeners, keys }: Materials,
  metrics: Metrics,
  log: Logger,
): Promise<Serving> {
  const redis = new RedisConnection(address, {
    awaitsReplicas: config.durability === "safe",
    observe: metrics.observeStoreCall,
  });
  let server: GrpcServer | undefined;
  const watch = new RedisWatch(redis, {
    allowVolatile: config.allowVolatileRedis,
    allowUnverified: config.allowUnverifiedRedis,
    durability: config.durability,
    log,
    listener: (isServing) => server?.health.setServing(isServing),
  });
  const census = new TokenCensus(redis, { log });
  try {
    await watch.start();
    if (config.metricsAddress !== undefined) census.start();
    const tokens = new RedisTokenStore(redis, config);
    const verifier = new TokenVerifier(tokens, { ...config, count: metrics.countVerification });
    const admission = new Admission(config);
    metrics.show(() => ({
      runningCalls: admission.runningCalls,
      isServing: watch.isServing,
      census: census.latest,
    }));
    const running = await startGrpcServer({
      ...config,
      listeners,
      identify: identification(config, keys, verifier),
      admission,
      countRefused: metrics.countRefused,
      observeCall: metrics.observeCall,
      log,
      tokens: new TokenService(tokens, config),
      verifier,
    });
    server = running;
    running.health.setServing(watch.isServing);
    const stop = async () => {
      watch.stop();
      census.stop();
      await running.drain();
      redis.close();
    };
    return { addresses: running.addresses, stop };
  } catch (error) {
    watch.stop();
    census.stop();
    redis.close();
    throw error;
  }
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
  return (metadata, connection) => authenticator.identify(metadata, connection);
}
