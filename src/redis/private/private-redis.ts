// Runs a Redis of our own for as long as we live: one folder, one owner, one Redis, started again when it dies. It must
// not know what is stored in it, nor where the redis-server came from.
import { writeFileSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { isNativeError } from "node:util/types";
import type { Logger } from "pino";
import { lockDataDir, openDataDir, type ReleaseLock, removeSocket, socketPathFor } from "./data-dir.js";
import { PrivateRedisError } from "./errors.js";
import { runsInGroup } from "./processes.js";
import { ping, RedisChild, type RedisChildOptions } from "./redis-child.js";
import type { RedisServer } from "./redis-server.js";

export type PrivateRedisOptions = {
  readonly server: RedisServer;
  /** Created with mode 0700; nobody else may use it meanwhile. */
  readonly dataDir: string;
  /** Redis's own setting: `always` is safe against a power cut, `everysec` may lose a second by one. */
  readonly appendFsync: "always" | "everysec";
  readonly log: Logger;
  /** How long the Redis of a killed owner may take to end; default 10 s. */
  readonly predecessorLimitMs?: number | undefined;
};

/** A private Redis that answers. */
export type PrivateRedis = {
  /** The unix socket that it listens on, the same after a restart. */
  readonly socketPath: string;
  /** Ends Redis with everything written, then frees the folder. May be called twice. */
  stop(): Promise<void>;
};

const PREDECESSOR_LIMIT_MS = 10_000;
const PREDECESSOR_POLL_MS = 50;
const FIRST_BACKOFF_MS = 200;
const LONGEST_BACKOFF_MS = 5_000;
const STEADY_MS = 10_000;

/**
 * Starts a Redis in the folder and resolves when it answers. Throws {@link PrivateRedisError} when the folder cannot be
 * used, somebody else uses it, or Redis ends while starting (with its last lines).
 */
export async function startPrivateRedis(options: PrivateRedisOptions): Promise<PrivateRedis> {
  let release: ReleaseLock | undefined;
  try {
    const dataDir = await openDataDir(options.dataDir);
    release = await lockDataDir(dataDir);
    const socketPath = await socketPathFor(dataDir);
    const child = { ...options, dataDir, socketPath };
    await waitForPredecessor(child, options.predecessorLimitMs ?? PREDECESSOR_LIMIT_MS);
    const keeper = new RedisKeeper(child, release);
    await keeper.start();
    return { socketPath, stop: () => keeper.stop() };
  } catch (error) {
    await release?.();
    if (error instanceof PrivateRedisError) throw error;
    const reason = isNativeError(error) ? error.message : String(error);
    throw new PrivateRedisError(`A Redis cannot be run on ${options.dataDir}: ${reason}`, { cause: error });
  }
}

/** Keeps one Redis running until it is stopped. */
class RedisKeeper {
  readonly #options: RedisChildOptions;
  readonly #release: ReleaseLock;
  readonly #stopping = new AbortController();
  #child: RedisChild;
  #kept: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;

  constructor(options: RedisChildOptions, release: ReleaseLock) {
    this.#options = options;
    this.#release = release;
    this.#child = launch(options);
  }

  async start(): Promise<void> {
    try {
      await this.#child.ready();
    } catch (error) {
      await this.stop();
      throw error;
    }
    this.#kept = this.#keep();
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    const { dataDir, socketPath } = this.#options;
    this.#stopping.abort();
    await this.#child.end();
    await this.#kept;
    await removeSocket(dataDir, socketPath);
    await rm(groupFile(dataDir), { force: true });
    await this.#release();
  }

  async #keep(): Promise<void> {
    const { signal } = this.#stopping;
    const { log } = this.#options;
    for (let backoffMs = FIRST_BACKOFF_MS; ; backoffMs = Math.min(backoffMs * 2, LONGEST_BACKOFF_MS)) {
      const started = performance.now();
      const ending = await this.#child.ended;
      if (signal.aborted) return;
      if (performance.now() - started > STEADY_MS) backoffMs = FIRST_BACKOFF_MS;
      log.error(`Redis ended by itself and is started again in ${backoffMs / 1000} s: ${ending}`);
      await delay(backoffMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      this.#child = launch(this.#options);
      this.#child.ready().then(
        () => log.info("Redis answers again"),
        () => undefined, // It ended while starting, which the next round tells.
      );
    }
  }
}

/** Starts a Redis and notes its process group, by which a successor of ours finds it when we are killed. */
function launch(options: RedisChildOptions): RedisChild {
  const child = new RedisChild(options);
  try {
    // At once and not awaited: between the two nothing must be able to end us but a SIGKILL.
    writeFileSync(groupFile(options.dataDir), `${child.groupId ?? 0}\n`, { mode: 0o600 });
  } catch (error) {
    options.log.warn(`The process group of Redis cannot be noted: ${String(error)}`);
  }
  return child;
}

function groupFile(dataDir: string): string {
  return join(dataDir, "redis.group");
}

/**
 * Two Redis on one folder destroy its data. The lock keeps live owners apart; this waits for what a killed owner left,
 * which is on its way out, and refuses when it stays (an owner in another container, whose process we cannot see).
 */
async function waitForPredecessor({ dataDir, socketPath, log }: RedisChildOptions, limitMs: number): Promise<void> {
  const groupId = Number(await readFile(groupFile(dataDir), "utf8").catch(() => "0"));
  const remains = async (): Promise<boolean> =>
    (await ping(socketPath)) !== "absent" || (groupId > 0 && (await runsInGroup(groupId, [dataDir, socketPath])));

  const deadline = performance.now() + limitMs;
  for (let told = false; await remains(); told = true) {
    if (performance.now() > deadline)
      throw new PrivateRedisError(`Another Redis is still running on ${dataDir}: stop it, or choose another DATA_DIR.`);
    if (!told) log.info(`Waiting for a Redis that is still running on ${dataDir} to end`);
    await delay(PREDECESSOR_POLL_MS);
  }
}
