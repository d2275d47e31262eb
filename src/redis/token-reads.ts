// The one command of a verification, sent more often than all others together. ioredis's own commands take their arguments
// apart, copy them, and have a timer each; this one is written in one piece, and one timer watches over all.
import type { Command, Redis } from "ioredis";
import { FIELDS, type FieldValues } from "./layout.js";

const HEAD = `*${FIELDS.length + 2}\r\n$5\r\nhmget\r\n$`;
const TAIL = FIELDS.map((field) => `\r\n$${field.length}\r\n${field}`).join("");
/** How much later than its time limit a read may be given up. */
const CHECK_MS = 20;

export class TokenReads {
  /** The oldest first; those of the same connection have the same time limit. */
  readonly #underWay = new Set<TokenRead>();
  #timer: NodeJS.Timeout | undefined;

  /** The fields of the token at `key`, which is ASCII. Rejects as ioredis does, also after the connection's `commandTimeout`. */
  read(redis: Redis, key: string): Promise<FieldValues> {
    const read = new TokenRead(key, this.#underWay);
    redis.sendCommand(read as unknown as Command);
    this.#timer ??= setInterval(() => this.#giveUpLate(), CHECK_MS).unref();
    return read.promise;
  }

  #giveUpLate(): void {
    const nowMs = performance.now();
    for (const read of this.#underWay) {
      if (nowMs < read.endMs) return;
      read.reject(new Error("Command timed out"));
    }
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

/** What ioredis asks of a command. */
class TokenRead {
  readonly name = "hmget";
  readonly args: readonly string[];
  readonly promise: Promise<FieldValues>;
  isTraced = false;
  endMs = Number.POSITIVE_INFINITY;
  readonly #underWay: Set<TokenRead>;
  #resolve!: (values: FieldValues) => void;
  #reject!: (error: Error) => void;

  constructor(key: string, underWay: Set<TokenRead>) {
    this.args = [key];
    this.#underWay = underWay;
    underWay.add(this);
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  toWritable(): string {
    const [key = ""] = this.args;
    return `${HEAD}${key.length}\r\n${key}${TAIL}\r\n`;
  }

  setTimeout(limitMs: number): void {
    this.endMs = performance.now() + limitMs;
  }

  resolve(reply: readonly (Buffer | null)[]): void {
    this.#underWay.delete(this);
    this.#resolve(reply.map((value) => value?.toString() ?? null));
  }

  reject(error: Error): void {
    this.#underWay.delete(this);
    this.#reject(error);
  }
}
