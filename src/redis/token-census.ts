// Counts the tokens, now and then, and so slowly that nobody notices: there is no index of all of them, for it would cost
// every token memory. One process counts for all that share the Redis; whoever has got the turn leaves its count there.
import { setTimeout as delay } from "node:timers/promises";
import type { Redis } from "ioredis";
import type { Logger } from "pino";
import type { RedisConnection } from "./connection.js";
import { CENSUS_KEYS, TOKEN_KEYS_PATTERN } from "./layout.js";
import type { Master } from "./master.js";
import { countTokens } from "./scripts.js";

const DAY_MS = 86_400_000;
/** Whose tokens are counted besides all, by how soon they expire. */
export const HORIZONS = { "1d": DAY_MS, "7d": 7 * DAY_MS, "30d": 30 * DAY_MS } as const;
export type Horizon = keyof typeof HORIZONS;
const NAMES = Object.keys(HORIZONS) as Horizon[];

/** What was counted last. */
export interface Census {
  /** When the count ended, on Redis's clock. */
  readonly timeMs: number;
  readonly tokens: number;
  /** Those of one horizon are among those of the next. */
  readonly expiring: Readonly<Record<Horizon, number>>;
}

export interface CensusOptions {
  readonly log: Logger;
  /** From one count to the next. */
  readonly intervalMs?: number;
  /** How often to look for a new count. */
  readonly lookMs?: number;
  /** Keys that are looked at in one step, which takes Redis a quarter of a millisecond, and the rest after it. */
  readonly keysPerStep?: number;
  readonly restMs?: number;
}

const RESULT_LIFETIME_MS = DAY_MS;
const RENEW_TURN_MS = 10_000;

export class TokenCensus {
  readonly #connection: RedisConnection;
  readonly #options: Required<CensusOptions>;
  readonly #stopping = new AbortController();
  #latest: Census | undefined;
  #complaint = "";

  constructor(connection: RedisConnection, options: CensusOptions) {
    this.#connection = connection;
    this.#options = { intervalMs: 5 * 60_000, lookMs: 15_000, keysPerStep: 50, restMs: 20, ...options };
  }

  /** undefined until there has been a count, and when there has been none for a day. */
  get latest(): Census | undefined {
    return this.#latest;
  }

  /** Looks from now on, and counts when it is due. */
  start(): void {
    void this.#run();
  }

  stop(): void {
    this.#stopping.abort();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.#look().catch((error: unknown) => this.#complain(error));
      await delay(this.#options.lookMs, undefined, { signal, ref: false }).catch(() => {});
    }
  }

  async #look(): Promise<void> {
    const home = this.#connection.writes.of(CENSUS_KEYS.turn);
    if (home?.redis.status !== "ready") return;
    const { redis } = home;
    const isOurs = await redis.set(CENSUS_KEYS.turn, "", "PX", this.#options.intervalMs, "NX");
    if (isOurs === "OK") {
      await this.#count(home).catch(async (error: unknown) => {
        await redis.pexpire(CENSUS_KEYS.turn, this.#options.lookMs);
        throw error;
      });
    }
    const [timeMs, tokens, ...within] = await redis.hmget(CENSUS_KEYS.result, "time", "tokens", ...NAMES);
    const expiring = Object.fromEntries(NAMES.map((name, at) => [name, Number(within[at])]));
    this.#latest = timeMs
      ? { timeMs: Number(timeMs), tokens: Number(tokens), expiring: expiring as Census["expiring"] }
      : undefined;
    this.#complaint = "";
  }

  /** All masters, one after the other. A token that is moved or whose key SCAN gives twice may be counted twice. */
  async #count(home: Master): Promise<void> {
    const counts = new Array<number>(1 + NAMES.length).fill(0);
    const nowMs = await home.readClock();
    let renewedAtMs = performance.now();
    for (const { redis } of this.#connection.writes.all()) {
      let cursor = "0";
      do {
        const { keysPerStep, intervalMs, restMs } = this.#options;
        const args = [cursor, TOKEN_KEYS_PATTERN, keysPerStep, nowMs, ...Object.values(HORIZONS)];
        const [next, ...found] = await step(redis, args);
        found.forEach((count, at) => {
          counts[at] = (counts[at] ?? 0) + count;
        });
        cursor = next;
        if (performance.now() - renewedAtMs > RENEW_TURN_MS) {
          await home.redis.pexpire(CENSUS_KEYS.turn, intervalMs);
          renewedAtMs = performance.now();
        }
        if (cursor !== "0") await delay(restMs, undefined, { signal: this.#stopping.signal, ref: false });
      } while (cursor !== "0");
    }
    const [tokens = 0, ...within] = counts;
    const fields = Object.fromEntries(NAMES.map((name, at) => [name, within[at] ?? 0]));
    await home.redis.hset(CENSUS_KEYS.result, { time: await home.readClock(), tokens, ...fields });
    await home.redis.pexpire(CENSUS_KEYS.result, RESULT_LIFETIME_MS);
  }

  /** Once for each cause: a user that may not SCAN, or a Redis that is away. */
  #complain(error: unknown): void {
    if (this.#stopping.signal.aborted) return;
    const text = error instanceof Error ? error.message : "";
    const cause = /^[A-Z]+(?= )/.exec(text)?.[0] ?? "no answer";
    if (cause !== this.#complaint)
      this.#options.log.warn({ cause }, "the tokens could not be counted; its Redis user needs +scan");
    this.#complaint = cause;
  }
}

async function step(redis: Redis, args: readonly (string | number)[]) {
  try {
    return await countTokens(redis, [], args);
  } catch (error) {
    // Redis has learnt the script by now.
    if (error instanceof Error && error.message.startsWith("NOSCRIPT")) return countTokens(redis, [], args);
    throw error;
  }
}
