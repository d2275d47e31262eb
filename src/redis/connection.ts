// The way to Redis: one connection for reads, one for mutations, the clock that decides, and what its failures mean.
// Everything fails fast, for a caller would rather retry than wait.
import { Redis, type RedisOptions, ReplyError } from "ioredis";
import { ApiTokenError } from "../domain/errors.js";

const COMMAND_TIMEOUT_MS = 500;
/** A clock that was read more slowly than this is too uncertain to go by. */
const MAX_CLOCK_READ_MS = 50;

const OPTIONS: RedisOptions = {
  enableOfflineQueue: false,
  maxRetriesPerRequest: 1,
  commandTimeout: COMMAND_TIMEOUT_MS,
  connectTimeout: 1000,
  retryStrategy: (attempt) => Math.min(50 * attempt, 500),
  // A demoted master says READONLY: find the new one.
  reconnectOnError: (error) => error.message.startsWith("READONLY"),
};

/** Redis's own words for "I did not do it". */
const REFUSED = /^(?:MISCONF|READONLY|LOADING|NOREPLICAS|OOM|NOAUTH|NOPERM|WRONGPASS|MASTERDOWN|BUSY)\b/;
/** ioredis's words for "I did not send it". */
const NOT_SENT = /^Stream isn't writeable/;

export class RedisConnection {
  /** Verification and other reads; commands of one event-loop turn go out together. */
  readonly reads: Redis;
  readonly writes: Redis;
  /** False refuses mutations: whoever watches this Redis found that it may not keep tokens. */
  acceptsMutations = true;
  /** Redis's clock minus this process's steady clock. */
  #clockOffsetMs: number | undefined;
  #lastFailure = "no answer";
  #lostWriteConnections = 0;

  /** Connects at once and keeps reconnecting until closed. `url`: redis://, rediss:// or the path of a unix socket. */
  constructor(url: string) {
    this.reads = new Redis(url, { ...OPTIONS, enableAutoPipelining: true, connectionName: "apitokend-reads" });
    this.writes = new Redis(url, { ...OPTIONS, connectionName: "apitokend-writes" });
    for (const redis of [this.reads, this.writes]) {
      redis.on("error", (error) => {
        this.#lastFailure = causeOf(error);
      });
    }
    this.writes.on("close", () => {
      this.#lostWriteConnections += 1;
    });
  }

  /** Why the connection failed last: Redis's first word, or the system's error code. No secrets. */
  get lastFailure(): string {
    return this.#lastFailure;
  }

  /** What Redis's clock says now, to within a round trip. Throws STORE_UNAVAILABLE until it has been read once. */
  nowMs(): number {
    if (this.#clockOffsetMs === undefined) throw new ApiTokenError("STORE_UNAVAILABLE", { cause: "clock not read" });
    return steadyMs() + this.#clockOffsetMs;
  }

  /** The last moment at which a mutation sent now may be applied: its caller is answered by then. */
  notAfterMs(): number {
    return Math.ceil(this.nowMs()) + COMMAND_TIMEOUT_MS + 100;
  }

  /** Reads Redis's clock, in milliseconds. */
  async readClock(): Promise<number> {
    const sentMs = steadyMs();
    const [seconds, microseconds] = await this.read((redis) => redis.time());
    const receivedMs = steadyMs();
    const redisMs = Number(seconds) * 1000 + Number(microseconds) / 1000;
    if (this.#clockOffsetMs === undefined || receivedMs - sentMs < MAX_CLOCK_READ_MS) {
      this.#clockOffsetMs = redisMs - (sentMs + receivedMs) / 2;
    }
    return Math.floor(redisMs);
  }

  /** Awaits a read. Rejects with STORE_UNAVAILABLE when Redis does not answer it. */
  async read<T>(run: (redis: Redis) => Promise<T>): Promise<T> {
    try {
      return await run(this.reads);
    } catch (error) {
      if (isUnexpected(error)) throw new Error(`Redis refused a command: ${causeOf(error)}`);
      throw new ApiTokenError("STORE_UNAVAILABLE", { cause: causeOf(error) });
    }
  }

  /**
   * Awaits a mutation. Rejects with STORE_UNAVAILABLE when it was not sent or Redis refused it, and with
   * OUTCOME_UNKNOWN when it may have been applied.
   */
  async mutate<T>(run: (redis: Redis) => Promise<T>): Promise<T> {
    if (!this.acceptsMutations || this.writes.status !== "ready") {
      throw new ApiTokenError("STORE_UNAVAILABLE", { cause: "not ready" });
    }
    const lostBefore = this.#lostWriteConnections;
    try {
      return await run(this.writes);
    } catch (error) {
      if (isUnexpected(error)) throw new Error(`Redis refused a command: ${causeOf(error)}`);
      // After a lost connection ioredis sends it again: what is refused then may have been applied before.
      const wasSentOnce = this.#lostWriteConnections === lostBefore;
      const isUnapplied = wasSentOnce && isRefusal(error);
      throw new ApiTokenError(isUnapplied ? "STORE_UNAVAILABLE" : "OUTCOME_UNKNOWN", { cause: causeOf(error) });
    }
  }

  /** Resolves when both connections answer; rejects otherwise. */
  async ping(): Promise<void> {
    await Promise.all([this.reads.ping(), this.writes.ping()]);
  }

  /** Looks for the master anew. */
  reconnect(): void {
    this.reads.disconnect(true);
    this.writes.disconnect(true);
  }

  close(): void {
    this.reads.disconnect();
    this.writes.disconnect();
  }
}

function isRefusal(error: unknown): boolean {
  const { message } = error as Error;
  return REFUSED.test(message) || NOT_SENT.test(message);
}

/** An answer that no healthy or unhealthy Redis gives to what we send: a fault of ours. */
function isUnexpected(error: unknown): boolean {
  return error instanceof ReplyError && !isRefusal(error);
}

/** ioredis hangs all arguments of a command on its errors, and Redis quotes them: only its first word goes on. */
function causeOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (error instanceof ReplyError) return /^[A-Z]+/.exec(message)?.[0] ?? "an error";
  return code ?? message;
}

function steadyMs(): number {
  return performance.timeOrigin + performance.now();
}
