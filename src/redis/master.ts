// One master as we see it: a connection to it, its clock, and the groups in which commands go out when replicas have to
// confirm them. It must not know what the commands do, nor how masters are found.
import type { Redis } from "ioredis";
import { pulseKeyBeside } from "./layout.js";

/** What was read less exactly counts only where it contradicts what is known: the clock was set. */
const MAX_CLOCK_ERROR_MS = 25;
const RECONNECT_LIMIT_MS = 150;
/** How long a group waits for the replicas. Two such waits and an answer fit into the time of a call. */
const CONFIRM_MS = 200;
/** Shorter than any failover takes; see #depart. */
const PULSE_INTERVAL_MS = 200;
const PULSE_LIFETIME_MS = 1000;

/** The command was executed, and too few replicas have confirmed what it did or saw. */
export class UnconfirmedError extends Error {
  override readonly name = "UnconfirmedError";
}

interface Group {
  readonly sends: (() => void)[];
  readonly confirmed: Promise<void>;
}

export class Master {
  readonly redis: Redis;
  /** Redis's clock minus this process's steady clock; undefined until it was read on this connection. */
  #clockOffsetMs: number | undefined;
  #isLearningClock = false;
  #wasReady = false;
  #awaySinceMs = steadyMs();
  #isCorked = false;
  #next: Group | undefined;
  #last: Promise<void> = Promise.resolve();
  #pulseMs = Number.NEGATIVE_INFINITY;

  constructor(redis: Redis) {
    this.redis = redis;
    // The next connection may lead to another server.
    redis.on("close", () => {
      // Each failed attempt to connect closes, too.
      if (this.#wasReady) this.#awaySinceMs = steadyMs();
      this.#wasReady = false;
      this.#clockOffsetMs = undefined;
      this.#pulseMs = Number.NEGATIVE_INFINITY;
    });
    const onReady = () => {
      this.#wasReady = true;
      this.#learnClock();
    };
    redis.on("ready", onReady);
    if (redis.status === "ready") onReady();
  }

  /** Whether commands can be sent and its clock is known; if not, it may be about to be. */
  isReady(): boolean {
    // A node of a Cluster connects when it is first needed.
    if (this.redis.status === "wait") {
      this.#awaySinceMs = steadyMs();
      this.redis.connect().catch(() => {});
    }
    if (this.redis.status !== "ready") return false;
    if (this.#clockOffsetMs === undefined) this.#learnClock();
    return this.#clockOffsetMs !== undefined;
  }

  /** True when it is not ready and has been for longer than a connection that was cut takes to come back. */
  isAway(): boolean {
    return !this.isReady() && steadyMs() - this.#awaySinceMs > RECONNECT_LIMIT_MS;
  }

  /** What Redis's clock says now, to within a round trip; undefined until it has been read. */
  get nowMs(): number | undefined {
    return this.#clockOffsetMs === undefined ? undefined : steadyMs() + this.#clockOffsetMs;
  }

  /** Reads Redis's clock, in milliseconds. Rejects as ioredis does. */
  async readClock(): Promise<number> {
    const sentMs = steadyMs();
    const [seconds, microseconds] = await this.redis.time();
    const receivedMs = steadyMs();
    const redisMs = Number(seconds) * 1000 + Number(microseconds) / 1000;
    const offsetMs = redisMs - (sentMs + receivedMs) / 2;
    const errorMs = (receivedMs - sentMs) / 2;
    const isSet = this.#clockOffsetMs === undefined || Math.abs(offsetMs - this.#clockOffsetMs) > errorMs;
    if (isSet || errorMs < MAX_CLOCK_ERROR_MS) this.#clockOffsetMs = offsetMs;
    return Math.floor(redisMs);
  }

  /**
   * Sends a command and gives its answer once `replicas` replicas have everything that it did or saw. Rejects as `send`
   * does, and with UnconfirmedError. `key`: any in the command's slot.
   */
  run<T>(replicas: number, key: string, send: (redis: Redis) => Promise<T>): Promise<T> {
    if (replicas > 0) return this.#runConfirmed(replicas, key, send);
    this.#gatherWrites();
    return send(this.redis);
  }

  async #runConfirmed<T>(replicas: number, key: string, send: (redis: Redis) => Promise<T>): Promise<T> {
    this.#next ??= this.#gather(replicas, key);
    const { sends, confirmed } = this.#next;
    const answer = new Promise<T>((resolve, reject) => {
      sends.push(() => {
        send(this.redis).then(resolve, reject);
      });
    });
    const [reply] = await Promise.all([answer, confirmed]);
    return reply;
  }

  #learnClock(): void {
    if (this.#isLearningClock) return;
    this.#isLearningClock = true;
    const done = () => {
      this.#isLearningClock = false;
    };
    this.readClock().then(done, done);
  }

  /** What is sent in one turn of the event loop goes out in one write. */
  #gatherWrites(): void {
    if (this.#isCorked) return;
    const { stream } = this.redis;
    this.#isCorked = true;
    stream.cork();
    setImmediate(() => {
      this.#isCorked = false;
      stream.uncork();
    });
  }

  /** WAIT blocks its connection: what comes meanwhile goes out together, with one WAIT, when the last one is back. */
  #gather(replicas: number, key: string): Group {
    const sends: (() => void)[] = [];
    const confirmed = this.#last.then(() => {
      this.#next = undefined;
      return this.#depart(sends, replicas, key);
    });
    this.#last = confirmed.catch(() => {});
    return { sends, confirmed };
  }

  /**
   * WAIT counts replicas that have all that this connection has seen, also where replicas confirmed that long ago. A
   * master that was cut off and replaced could thus go on answering reads: so now and then a group begins with a write
   * of its own, which only a master that still has its replicas gets confirmed.
   */
  async #depart(sends: readonly (() => void)[], replicas: number, key: string): Promise<void> {
    const isPulseDue = steadyMs() - this.#pulseMs > PULSE_INTERVAL_MS;
    const pulse = isPulseDue ? this.#pulse(key) : true;
    for (const send of sends) send();
    const confirmations = await this.redis.wait(replicas, CONFIRM_MS).catch(() => 0);
    if (confirmations < replicas) throw new UnconfirmedError(`${confirmations} of ${replicas} replicas confirmed`);
    if (!(await pulse)) throw new UnconfirmedError("this master takes no writes");
  }

  /** True when it was written, or could not be because the slot is moving to another master of a Cluster. */
  async #pulse(key: string): Promise<boolean> {
    const sentMs = steadyMs();
    try {
      await this.redis.set(pulseKeyBeside(key), "", "PX", PULSE_LIFETIME_MS);
      this.#pulseMs = sentMs;
      return true;
    } catch (error) {
      return error instanceof Error && /^(?:MOVED|ASK|TRYAGAIN)\b/.test(error.message);
    }
  }
}

export function steadyMs(): number {
  return performance.timeOrigin + performance.now();
}
