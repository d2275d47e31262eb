// The way to Redis: connections for reads and for mutations, what is tried again and for how long, and what failures mean.
// Everything fails fast, for a caller would rather retry than wait.
import { setTimeout as delay } from "node:timers/promises";
import { type Redis, type RedisOptions, ReplyError } from "ioredis";
import { ApiTokenError } from "../domain/errors.js";
import { type Master, steadyMs } from "./master.js";
import { findMasters, type Masters } from "./masters.js";
import type { RedisAddress } from "./redis-address.js";

/** How long a call asks and asks again. */
const CALL_LIMIT_MS = 500;
const RETRY_MS = 25;
/** With less time left another try could only leave the outcome in doubt. */
const SHORTEST_TRY_MS = 100;
/** From our giving up until the caller has read that we did. */
const ANSWER_MS = 100;

const OPTIONS: RedisOptions = {
  enableOfflineQueue: false,
  // What is sent again is decided here, not by the client.
  maxRetriesPerRequest: 0,
  commandTimeout: CALL_LIMIT_MS,
  connectTimeout: 1000,
  // Redis guesses in whole seconds how long it will load.
  maxLoadingRetryTime: 50,
  disableClientInfo: true,
  // A demoted master says READONLY: find the new one.
  reconnectOnError: (error) => error.message.startsWith("READONLY"),
};

/** Redis's own words for "I did not do it". */
const REFUSED = /^(?:MISCONF|NOREPLICAS|OOM|NOAUTH|NOPERM|WRONGPASS|MASTERDOWN|BUSY)\b/;
/** The same, where another try helps soon, or at another master. */
const PASSING = /^(?:READONLY|LOADING|NOSCRIPT|MOVED|ASK|TRYAGAIN|CLUSTERDOWN)\b/;
/** ioredis's words for "I did not send it". */
const NOT_CONNECTED = "not connected";
const NOT_SENT = /^Stream isn't writeable/;

/** What is asked of the store: `note` is what nobody waits for. */
export type StoreCall = "read" | "mutate" | "note" | "clock";
/** Why it failed: it did not answer in time, or it answered what no Redis should. */
export type StoreError = "unavailable" | "unexpected";

export interface ConnectionOptions {
  /** Whether answers wait until replicas have what they say. */
  readonly awaitsReplicas: boolean;
  /** Told how long each call took, with all its tries. */
  readonly observe?: (call: StoreCall, seconds: number, error?: StoreError) => void;
}

export class RedisConnection {
  readonly address: RedisAddress;
  /** Verification and other reads. */
  readonly reads: Masters;
  /** Mutations have connections of their own, for each waits until replicas have it. */
  readonly writes: Masters;
  /** False refuses mutations, and lets reads fail at their first failure: whoever watches this Redis found it unfit. */
  isServing = true;
  /** Replicas that must have what an answer says. */
  requiredReplicas: number;
  readonly #observe: NonNullable<ConnectionOptions["observe"]>;
  #lastFailure = "no answer";
  #connectionsMade = 0;

  /** Connects at once and keeps reconnecting until closed. */
  constructor(address: RedisAddress, { awaitsReplicas, observe = () => {} }: ConnectionOptions) {
    this.address = address;
    this.#observe = observe;
    const onReady = () => {
      this.#connectionsMade += 1;
    };
    this.requiredReplicas = awaitsReplicas && address.kind !== "standalone" ? 1 : 0;
    const onError = (error: unknown) => {
      this.#lastFailure = causeOf(error);
    };
    const open = (connectionName: string) =>
      findMasters(address, { redis: { ...OPTIONS, connectionName }, onReady, onError });
    this.reads = open("apitokend-reads");
    this.writes = open("apitokend-writes");
  }

  /** Why the connection failed last: Redis's first word, or the system's error code. No secrets. */
  get lastFailure(): string {
    return this.#lastFailure;
  }

  /** How many times a connection has come to be usable; each time it may lead to another server. */
  get connectionsMade(): number {
    return this.#connectionsMade;
  }

  /** What the clock of the key's master says now, to within a round trip; undefined while it is not known. */
  nowMs(key: string): number | undefined {
    return this.writes.of(key)?.nowMs;
  }

  /** Asks the key's master for its clock. Rejects with STORE_UNAVAILABLE. */
  readClock(key: string): Promise<number> {
    return this.#call("clock", this.writes, key, (master) => master.readClock());
  }

  /** Awaits a read in the key's slot. Rejects with STORE_UNAVAILABLE when Redis does not answer it. */
  read<T>(key: string, send: (redis: Redis) => Promise<T>): Promise<T> {
    return this.#call("read", this.reads, key, (master, isAsked) =>
      master.run(this.requiredReplicas, key, isAsked ? asking(send) : send),
    );
  }

  /**
   * Awaits a mutation in the key's slot. `send` gets the last moment, on Redis's clock, at which it may be applied; it is
   * sent again when its answer is lost, and must be applied once at most. Rejects with STORE_UNAVAILABLE when it was not
   * applied, and with OUTCOME_UNKNOWN when it may have been.
   */
  async mutate<T>(key: string, send: (redis: Redis, notAfterMs: number) => Promise<T>): Promise<T> {
    if (!this.isServing) throw unavailable("not serving");
    const endMs = steadyMs() + CALL_LIMIT_MS + ANSWER_MS;
    let mayBeApplied = false;
    const attempt = async (master: Master) => {
      if (master.nowMs === undefined) throw unavailable(NOT_CONNECTED);
      const notAfterMs = Math.ceil(master.nowMs + endMs - steadyMs());
      const wasDoubtful = mayBeApplied;
      mayBeApplied = true;
      try {
        return await master.run(this.requiredReplicas, key, (redis) => send(redis, notAfterMs));
      } catch (error) {
        if (isRefusal(error)) mayBeApplied = wasDoubtful;
        throw error;
      }
    };
    try {
      return await this.#call("mutate", this.writes, key, attempt);
    } catch (error) {
      if (!mayBeApplied || !(error instanceof ApiTokenError)) throw error;
      throw new ApiTokenError("OUTCOME_UNKNOWN", { cause: error.cause });
    }
  }

  /** Sends a note in the key's slot, once and without waiting for replicas. Rejects with whatever ioredis rejects with. */
  async note(key: string, send: (redis: Redis) => Promise<unknown>): Promise<void> {
    const master = this.writes.of(key);
    if (master === undefined) throw unavailable("no master");
    const startMs = steadyMs();
    try {
      await send(master.redis);
      this.#took("note", startMs);
    } catch (error) {
      if (isMissingScript(error)) return this.note(key, send);
      this.#took("note", startMs, isUnexpected(error) ? "unexpected" : "unavailable");
      if (isPassing(error)) this.writes.refresh();
      throw error;
    }
  }

  close(): void {
    this.reads.close();
    this.writes.close();
  }

  /** Runs on the key's master, and again for as long as there is time and another try may help. */
  async #call<T>(
    call: StoreCall,
    masters: Masters,
    key: string,
    attempt: (master: Master, isAsked: boolean) => Promise<T>,
  ): Promise<T> {
    const startMs = steadyMs();
    const endMs = startMs + CALL_LIMIT_MS;
    let redirectedTo: string | undefined;
    for (let attempts = 0; ; attempts += 1) {
      try {
        const master = redirectedTo === undefined ? masters.of(key) : masters.at(redirectedTo);
        if (!master?.isReady()) throw unavailable(master?.isAway() ? "away" : NOT_CONNECTED);
        const answer = attempt(master, redirectedTo !== undefined);
        // A first command by itself has the client's own time limit.
        const isLimited = attempts === 0 && this.requiredReplicas === 0;
        const reply = await (isLimited ? answer : within(endMs - steadyMs(), answer));
        this.#took(call, startMs);
        return reply;
      } catch (error) {
        if (isUnexpected(error)) {
          this.#took(call, startMs, "unexpected");
          throw new Error(`Redis refused a command: ${causeOf(error)}`);
        }
        if (isMissingScript(error) && steadyMs() < endMs) continue;
        const isOver = steadyMs() + RETRY_MS + SHORTEST_TRY_MS > endMs;
        const isHopeless = isRefusal(error) && !isPassing(error);
        if (isHopeless || isOver || !this.isServing) {
          this.#took(call, startMs, "unavailable");
          throw unavailable(causeOf(error));
        }
        redirectedTo = /^ASK \d+ (\S+)/.exec(messageOf(error))?.[1];
        if (redirectedTo === undefined) masters.refresh();
        await delay(RETRY_MS);
      }
    }
  }

  #took(call: StoreCall, startMs: number, error?: StoreError): void {
    this.#observe(call, (steadyMs() - startMs) / 1000, error);
  }
}

/** The slot is on its way from one master to another. */
function asking<T>(send: (redis: Redis) => Promise<T>): (redis: Redis) => Promise<T> {
  return (redis) => {
    redis.asking().catch(() => {});
    return send(redis);
  };
}

/** Rejects when the answer takes longer. */
async function within<T>(limitMs: number, answer: Promise<T>): Promise<T> {
  const ending = new AbortController();
  const late = delay(Math.max(0, limitMs), undefined, { signal: ending.signal }).then(() => {
    throw new Error("no answer");
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    ending.abort();
    late.catch(() => {});
  }
}

function unavailable(cause: string): ApiTokenError {
  return new ApiTokenError("STORE_UNAVAILABLE", { cause });
}

/** It was certainly not executed. */
function isRefusal(error: unknown): boolean {
  return error instanceof ApiTokenError || [REFUSED, PASSING, NOT_SENT].some((words) => words.test(messageOf(error)));
}

/** Redis has it by now: src/redis/scripts.ts has taught it. */
function isMissingScript(error: unknown): boolean {
  return messageOf(error).startsWith("NOSCRIPT");
}

function isPassing(error: unknown): boolean {
  if (error instanceof ApiTokenError) return error.cause === NOT_CONNECTED;
  return [PASSING, NOT_SENT].some((words) => words.test(messageOf(error)));
}

/** An answer that no healthy or unhealthy Redis gives to what we send: a fault of ours. */
function isUnexpected(error: unknown): boolean {
  return error instanceof ReplyError && !isRefusal(error);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : "";
}

/** ioredis hangs all arguments of a command on its errors, and Redis quotes them: only its first word goes on. */
function causeOf(error: unknown): string {
  const { code, message, cause } = error as NodeJS.ErrnoException;
  if (error instanceof ApiTokenError) return String(cause);
  if (error instanceof ReplyError) return /^[A-Z]+/.exec(message)?.[0] ?? "an error";
  return code ?? message;
}
