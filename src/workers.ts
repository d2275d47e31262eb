// Several processes that share the ports, one for each core: started together, replaced when one dies, drained together.
// It must not know what they serve.
import cluster, { type Worker } from "node:cluster";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";

/** One that lived shorter has a reason that may still be there. */
const STEADY_MS = 10_000;
const FIRST_BACKOFF_MS = 500;
const LONGEST_BACKOFF_MS = 10_000;

/** What a worker tells when it listens. */
interface Report {
  readonly addresses: readonly string[];
}

export class Workers {
  /** host:port of each listener. */
  readonly addresses: readonly string[];
  readonly #env: Readonly<Record<string, string>>;
  readonly #log: Logger;
  readonly #stopping = new AbortController();

  private constructor(env: Readonly<Record<string, string>>, log: Logger, addresses: readonly string[]) {
    this.#env = env;
    this.#log = log;
    this.addresses = addresses;
  }

  /**
   * Starts so many, with these variables besides our own; resolves when all listen, and rejects when one of them ends
   * before it does: it has told why.
   */
  static async start(count: number, env: Readonly<Record<string, string>>, log: Logger): Promise<Workers> {
    const started: Worker[] = [];
    try {
      for (let at = 0; at < count; at += 1) started.push(cluster.fork(env));
      const [report] = await Promise.all(started.map(listening));
      const workers = new Workers(env, log, report?.addresses ?? []);
      for (const worker of started) void workers.#keep(worker);
      return workers;
    } catch (error) {
      for (const worker of started) worker.process.kill("SIGKILL");
      throw error;
    }
  }

  /** Tells all to drain, and resolves when all have ended. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    const running = Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
    await Promise.all(
      running.map((worker) => {
        const ended = endOf(worker);
        // Not a message: one that comes while it is still starting would be lost.
        worker.process.kill("SIGTERM");
        return ended;
      }),
    );
  }

  /** undefined when the system has no room for another process now. */
  #fork(): Worker | undefined {
    try {
      return cluster.fork(this.#env);
    } catch {
      return undefined;
    }
  }

  /** Replaces it when it ends, and its successors, until we stop. */
  async #keep(first: Worker): Promise<void> {
    const { signal } = this.#stopping;
    let worker: Worker | undefined = first;
    for (let backoffMs = FIRST_BACKOFF_MS; ; backoffMs = Math.min(2 * backoffMs, LONGEST_BACKOFF_MS)) {
      const startedMs = performance.now();
      const cause = await (worker === undefined ? "it could not be started" : endOf(worker));
      if (signal.aborted) return;
      const wasSteady = performance.now() - startedMs > STEADY_MS;
      if (wasSteady) backoffMs = FIRST_BACKOFF_MS;
      this.#log.error({ worker: worker?.process.pid, cause }, "a worker ended and is replaced");
      if (!wasSteady) await delay(backoffMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      worker = this.#fork();
    }
  }
}

/** How it ended, or why it never began. */
function endOf(worker: Worker): Promise<string> {
  if (worker.isDead()) return Promise.resolve("it ended");
  return new Promise((resolve) => {
    worker.once("exit", (code, signal) => resolve(signal ?? `exit code ${code}`));
    // Others are of messages and signals that did not reach it.
    worker.on("error", (error: NodeJS.ErrnoException) => {
      if (worker.process.pid === undefined) resolve(error.code ?? error.message);
    });
  });
}

function listening(worker: Worker): Promise<Report> {
  return new Promise((resolve, reject) => {
    worker.on("message", (message: Report | { type: string }) => {
      if ("addresses" in message) resolve(message);
    });
    void endOf(worker).then(() => reject(new Error("a worker could not start")));
  });
}

/** In a worker: resolves when it is to drain. A worker whose primary is gone ends at once. */
export function drainAsked(): Promise<void> {
  // A terminal's Ctrl-C reaches us as well: the primary decides.
  process.on("SIGINT", () => {});
  return new Promise((resolve) => {
    process.on("SIGTERM", () => resolve());
  });
}

/** In a worker: tells the primary that it listens. */
export function reportListening(addresses: readonly string[]): void {
  process.send?.({ addresses } satisfies Report);
}
