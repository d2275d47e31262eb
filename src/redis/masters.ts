// Which masters there are and which one keeps a key: one behind a URL or Sentinels, several in a Cluster. It must not know
// what is asked of them.
import calculateSlot from "cluster-key-slot";
import { Cluster, Redis, type RedisOptions } from "ioredis";
import { Master, steadyMs } from "./master.js";
import type { RedisAddress } from "./redis-address.js";

export interface Masters {
  /** Those known now. */
  all(): readonly Master[];
  /** The one that keeps the key; undefined while that is not known. */
  of(key: string): Master | undefined;
  /** The one at `host:port`, as Redis names it in a redirection; undefined while that is not known. */
  at(address: string): Master | undefined;
  /** Looks again who the masters are. */
  refresh(): void;
  close(): void;
}

export interface MastersOptions {
  readonly redis: RedisOptions;
  /** Told of each connection that can be used from now on. */
  readonly onReady: () => void;
  readonly onError: (error: unknown) => void;
}

const RECONNECT_STEP_MS = 50;
const LONGEST_RECONNECT_MS = 500;
const REFRESH_TIMEOUT_MS = 500;
const REFRESH_INTERVAL_MS = 100;
const RESOLVE_INTERVAL_MS = 1000;

/** Connects at once and keeps reconnecting until closed. */
export function findMasters(address: RedisAddress, options: MastersOptions): Masters {
  return address.kind === "cluster" ? clusterMasters(address, options) : oneMaster(address, options);
}

function oneMaster(address: Exclude<RedisAddress, { readonly kind: "cluster" }>, options: MastersOptions): Masters {
  const redisOptions: RedisOptions = { ...options.redis, ...address.options, retryStrategy: reconnectDelayMs };
  const redis = new Redis(redisOptions);
  const master = watched(redis, options);
  let isClosed = false;
  // ioredis gives up when it is told of a failover while it asks a Sentinel for the master.
  redis.on("end", () => {
    if (isClosed) return;
    setTimeout(() => {
      if (!isClosed) redis.connect().catch(() => {});
    }, RECONNECT_STEP_MS);
  });
  // A master that was cut off and replaced does not know it, and a lost subscription to a Sentinel is not made anew.
  const resolveAgain = atMostEvery(RESOLVE_INTERVAL_MS, () => {
    if (redis.status === "ready") redis.disconnect(true);
  });
  return {
    all: () => [master],
    of: () => master,
    at: () => undefined,
    refresh: address.kind === "sentinel" ? resolveAgain : () => {},
    close: () => {
      isClosed = true;
      redis.disconnect();
    },
  };
}

function clusterMasters(address: RedisAddress & { kind: "cluster" }, options: MastersOptions): Masters {
  const nodes = new Map<string, Master>();
  const cluster = new Cluster([...address.seeds], {
    redisOptions: { ...options.redis, ...address.options },
    clusterRetryStrategy: reconnectDelayMs,
    slotsRefreshTimeout: REFRESH_TIMEOUT_MS,
    // The names in certificates are those that the nodes announce.
    dnsLookup: (host, callback) => callback(null, host),
  });
  cluster.on("error", options.onError).on("node error", options.onError);
  cluster.on("+node", (redis: Redis) => nodes.set(addressOf(redis), watched(redis, options)));
  cluster.on("-node", (redis: Redis) => {
    if (nodes.get(addressOf(redis))?.redis === redis) nodes.delete(addressOf(redis));
  });
  const at = (node: string | undefined) => (node === undefined ? undefined : nodes.get(node));
  return {
    all: () => {
      // Before the first look at the slots every seed passes for a master.
      if (cluster.status !== "ready") return [];
      return cluster.nodes("master").flatMap((redis) => at(addressOf(redis)) ?? []);
    },
    of: (key) => at(cluster.slots[calculateSlot(key)]?.[0]),
    at,
    refresh: atMostEvery(REFRESH_INTERVAL_MS, () => {
      if (cluster.status === "ready") cluster.refreshSlotsCache();
    }),
    close: () => cluster.disconnect(),
  };
}

/** As slots and redirections name a node. */
function addressOf({ options: { host, port } }: Redis): string {
  return `${host}:${port}`;
}

function watched(redis: Redis, { onReady, onError }: MastersOptions): Master {
  redis.on("ready", onReady).on("error", onError);
  // ioredis listens to the first error only, and a failed TLS handshake can have two: the second would end the process.
  redis.on("error", () => redis.stream?.on("error", () => {}));
  return new Master(redis);
}

function atMostEvery(intervalMs: number, act: () => void): () => void {
  let lastMs = steadyMs();
  return () => {
    if (steadyMs() - lastMs < intervalMs) return;
    lastMs = steadyMs();
    act();
  };
}

function reconnectDelayMs(attempt: number): number {
  return Math.min(RECONNECT_STEP_MS * attempt, LONGEST_RECONNECT_MS);
}
