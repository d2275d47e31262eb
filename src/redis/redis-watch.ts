// Watches Redis for as long as we serve from it: at start, twice a second, and thoroughly every minute and after each
// reconnect, for an operator can change a setting at run time and a failover can bring up a server that is set differently.
import type { Logger } from "pino";
import type { RedisConnection } from "./connection.js";
import type { Master } from "./master.js";
import type { Masters } from "./masters.js";
import { type Findings, isPassing, type SelfCheckOptions, selfCheck } from "./self-check.js";

const PING_INTERVAL_MS = 500;
const CHECK_INTERVAL_MS = 60_000;
const START_LIMIT_MS = 10_000;
/** A connection that was silent for so many pings leads nowhere, though nothing has closed it. */
const SILENT_PINGS = 4;

/** Tells when Redis can and cannot be served from, and lets no mutation through while it cannot. */
export class RedisWatch {
  readonly #connection: RedisConnection;
  readonly #options: SelfCheckOptions;
  readonly #log: Logger;
  readonly #listener: (isServing: boolean) => void;
  readonly #silentPings = new WeakMap<Master, number>();
  #isServing = false;
  #checkedAtMs = 0;
  #connectionsChecked = 0;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;
  #warnings: readonly string[] = [];

  /** `listener` is called with every change. */
  constructor(
    connection: RedisConnection,
    options: SelfCheckOptions & { log: Logger; listener: (isServing: boolean) => void },
  ) {
    this.#connection = connection;
    this.#options = options;
    this.#log = options.log;
    this.#listener = options.listener;
  }

  get isServing(): boolean {
    return this.#isServing;
  }

  /** Resolves when Redis may be served from; rejects with the faults, or when it does not answer within 10 s. */
  async start(): Promise<void> {
    const limitMs = performance.now() + START_LIMIT_MS;
    for (;;) {
      const findings = await this.#check().catch(() => undefined);
      if (findings?.faults.length === 0) {
        this.#report(findings);
        break;
      }
      const isLate = performance.now() > limitMs;
      if (findings !== undefined && (isLate || !this.#mayPass(findings))) throw new Error(findings.faults.join("\n"));
      const { lastFailure } = this.#connection;
      const isHopeless = isLate || /^(?:WRONGPASS|NOAUTH|NOPERM)$/.test(lastFailure);
      if (findings === undefined && isHopeless) throw new Error(`Redis does not answer: ${lastFailure}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    this.#schedule();
  }

  /** Looks no more, and says nothing more, not even of a look that is under way. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  /** Where another server can become the master, the next look may find it. */
  #mayPass({ faults }: Findings): boolean {
    return this.#connection.address.kind !== "standalone" && faults.every(isPassing);
  }

  #schedule(): void {
    this.#timer = setTimeout(() => {
      void this.#look().finally(() => {
        if (!this.#isStopped) this.#schedule();
      });
    }, PING_INTERVAL_MS);
  }

  async #look(): Promise<void> {
    const { reads, writes, connectionsMade } = this.#connection;
    try {
      const areAnswering = await Promise.all([this.#someAnswer(reads), this.#someAnswer(writes)]);
      if (areAnswering.includes(false)) throw new Error("no master answers");
      const isOld = performance.now() - this.#checkedAtMs > CHECK_INTERVAL_MS;
      if (isOld || connectionsMade !== this.#connectionsChecked || !this.#isServing) this.#report(await this.#check());
    } catch {
      this.#connectionsChecked = -1;
      this.#set(false, `Redis does not answer: ${this.#connection.lastFailure}`);
    }
  }

  /** Of a Cluster some masters may be away: their organizations wait, and the others go on. */
  async #someAnswer(masters: Masters): Promise<boolean> {
    const answers = await Promise.all(masters.all().map((master) => this.#answers(master)));
    if (answers.length === 0 || answers.includes(false)) masters.refresh();
    return answers.includes(true);
  }

  async #answers(master: Master): Promise<boolean> {
    try {
      await master.redis.ping();
      this.#silentPings.delete(master);
      return true;
    } catch {
      const silentPings = (this.#silentPings.get(master) ?? 0) + 1;
      this.#silentPings.set(master, silentPings);
      if (master.redis.status === "ready" && silentPings % SILENT_PINGS === 0) master.redis.disconnect(true);
      return false;
    }
  }

  async #check(): Promise<Findings> {
    const { connectionsMade } = this.#connection;
    const findings = await selfCheck(this.#connection, this.#options);
    this.#connectionsChecked = connectionsMade;
    return findings;
  }

  #report({ faults, warnings }: Findings): void {
    this.#checkedAtMs = performance.now();
    const isNews = warnings.join("\n") !== this.#warnings.join("\n");
    if (isNews) for (const warning of warnings) this.#log.warn(warning);
    this.#warnings = warnings;
    this.#set(faults.length === 0, faults.join("; "));
  }

  #set(isServing: boolean, reason: string): void {
    if (this.#isStopped) return;
    this.#connection.isServing = isServing;
    if (isServing === this.#isServing) return;
    this.#isServing = isServing;
    if (isServing) this.#log.info("serving from Redis");
    else this.#log.error(`not serving: ${reason}`);
    this.#listener(isServing);
  }
}
