// Whether this Redis may keep tokens. Checked at start, every minute and after each reconnect, for an operator can change
// a setting at run time and a failover can bring up a server that is set differently.
import type { Redis } from "ioredis";
import type { Logger } from "pino";
import { ApiTokenError } from "../domain/errors.js";
import type { RedisConnection } from "./connection.js";

export interface SelfCheckOptions {
  /** Serve although Redis keeps nothing on disk. */
  readonly allowVolatile: boolean;
  /** Serve although Redis does not let us read its configuration. */
  readonly allowUnverified: boolean;
}

export interface Findings {
  /** Reasons not to serve. */
  readonly faults: readonly string[];
  readonly warnings: readonly string[];
}

const PING_INTERVAL_MS = 500;
const CHECK_INTERVAL_MS = 60_000;
const START_LIMIT_MS = 10_000;
const MAX_CLOCK_SKEW_MS = 2000;

/** Asks Redis about itself. Rejects when it does not answer. */
export async function selfCheck(connection: RedisConnection, options: SelfCheckOptions): Promise<Findings> {
  const faults: string[] = [];
  const warnings: string[] = [];
  const refuseUnless = (isAllowed: boolean, text: string) => (isAllowed ? warnings : faults).push(text);

  const [info, readInfo] = await Promise.all([connection.writes.info(), connection.reads.info()]);
  if (infoField(info, "run_id") !== infoField(readInfo, "run_id")) {
    // One connection has followed a failover and the other has not.
    connection.reconnect();
    return { faults: ["the connections lead to different servers"], warnings };
  }
  const version = infoField(info, "redis_version");
  if (Number.parseInt(version, 10) < 7) faults.push(`Redis ${version} is too old: 7.0 or newer is needed`);
  const mode = infoField(info, "redis_mode");
  if (mode !== "standalone") faults.push(`Redis in ${mode} mode is not supported by this version`);
  const role = infoField(info, "role");
  if (role !== "master") faults.push(`this Redis is a ${role}; the master is needed`);

  const settings = await readSettings(connection.writes);
  if (settings === undefined) {
    const text =
      "CONFIG GET is not permitted, so eviction and persistence cannot be verified (ALLOW_UNVERIFIED_REDIS=1)";
    refuseUnless(options.allowUnverified, text);
  } else {
    const policy = settings.get("maxmemory-policy");
    if (policy !== "noeviction") faults.push(`maxmemory-policy is ${policy}: tokens would be evicted; set noeviction`);
    if (settings.get("appendonly") !== "yes") {
      refuseUnless(
        options.allowVolatile,
        "appendonly is off: tokens would not survive a restart (ALLOW_VOLATILE_REDIS=1)",
      );
    }
  }
  const skewMs = Math.round((await connection.readClock()) - Date.now());
  if (Math.abs(skewMs) > MAX_CLOCK_SKEW_MS) {
    warnings.push(`Redis's clock is ${skewMs} ms ahead of this machine's; Redis's decides when a token ends`);
  }
  return { faults, warnings };
}

/** Watches Redis: tells when it can and cannot be served from, and lets no mutation through while it cannot. */
export class RedisWatch {
  readonly #connection: RedisConnection;
  readonly #options: SelfCheckOptions;
  readonly #log: Logger;
  readonly #listener: (isServing: boolean) => void;
  #isServing = false;
  #isCheckDue = true;
  #checkedAtMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  /** `listener` is called with every change. */
  constructor(
    connection: RedisConnection,
    options: SelfCheckOptions & { log: Logger; listener: (isServing: boolean) => void },
  ) {
    this.#connection = connection;
    this.#options = options;
    this.#log = options.log;
    this.#listener = options.listener;
    // It may be another server now, or the same one set differently.
    for (const redis of [connection.reads, connection.writes]) {
      redis.on("ready", () => {
        this.#isCheckDue = true;
      });
    }
  }

  get isServing(): boolean {
    return this.#isServing;
  }

  /** Resolves when Redis may be served from; rejects with the faults, or when it does not answer within 10 s. */
  async start(): Promise<void> {
    const limitMs = performance.now() + START_LIMIT_MS;
    for (;;) {
      const findings = await selfCheck(this.#connection, this.#options).catch(() => undefined);
      if (findings !== undefined && findings.faults.length > 0) throw new Error(findings.faults.join("\n"));
      if (findings !== undefined) {
        this.#report(findings);
        break;
      }
      const { lastFailure } = this.#connection;
      const isHopeless = /^(?:WRONGPASS|NOAUTH|NOPERM)$/.test(lastFailure);
      if (isHopeless || performance.now() > limitMs) throw new Error(`Redis does not answer: ${lastFailure}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    this.#schedule();
  }

  /** Looks no more, and says nothing more, not even of a look that is under way. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    this.#timer = setTimeout(() => {
      void this.#look().finally(() => {
        if (!this.#isStopped) this.#schedule();
      });
    }, PING_INTERVAL_MS);
  }

  async #look(): Promise<void> {
    try {
      await this.#connection.ping();
      const isOld = performance.now() - this.#checkedAtMs > CHECK_INTERVAL_MS;
      if (isOld || this.#isCheckDue || !this.#isServing) {
        this.#isCheckDue = false;
        this.#report(await selfCheck(this.#connection, this.#options));
      }
    } catch {
      this.#isCheckDue = true;
      this.#set(false, `Redis does not answer: ${this.#connection.lastFailure}`);
    }
  }

  #report({ faults, warnings }: Findings): void {
    this.#checkedAtMs = performance.now();
    for (const warning of warnings) this.#log.warn(warning);
    this.#set(faults.length === 0, faults.join("; "));
  }

  #set(isServing: boolean, reason: string): void {
    if (this.#isStopped) return;
    this.#connection.acceptsMutations = isServing;
    if (isServing === this.#isServing) return;
    this.#isServing = isServing;
    if (isServing) this.#log.info("serving from Redis");
    else this.#log.error(`not serving: ${reason}`);
    this.#listener(isServing);
  }
}

async function readSettings(redis: Redis): Promise<ReadonlyMap<string, string> | undefined> {
  try {
    const reply = (await redis.config("GET", "maxmemory-policy", "appendonly")) as string[];
    return new Map(reply.flatMap((name, at) => (at % 2 === 0 ? [[name, reply[at + 1] ?? ""] as const] : [])));
  } catch (error) {
    // NOPERM by an ACL, or an ERR where a provider has renamed the command away. Anything else is no answer.
    if (error instanceof Error && /^(?:NOPERM|ERR)\b/.test(error.message)) return undefined;
    throw new ApiTokenError("STORE_UNAVAILABLE");
  }
}

function infoField(info: string, name: string): string {
  return new RegExp(`^${name}:(.*)\\r?$`, "m").exec(info)?.[1]?.trim() ?? "";
}
