// The commands that calls are made of. ioredis's own take their arguments apart, copy them, and have a timer each; these are
// written in one piece, and one timer watches over all.
import type { Command, Redis } from "ioredis";
import { FIELDS, type FieldValues } from "./layout.js";

const HMGET = `*${FIELDS.length + 2}\r\n$5\r\nhmget\r\n$`;
const HMGET_FIELDS = FIELDS.map((field) => `\r\n$${field.length}\r\n${field}`).join("");
/** How much later than its time limit a command may be given up. */
const CHECK_MS = 20;

/** The fields of the token at `key`, which is ASCII. Rejects as ioredis does, also after the connection's `commandTimeout`. */
export function readFields(redis: Redis, key: string): Promise<FieldValues> {
  return send(redis, "hmget", key, `${HMGET}${key.length}\r\n${key}${HMGET_FIELDS}\r\n`) as Promise<FieldValues>;
}

/** Runs the script with this SHA-1, in hex, if Redis knows it. Rejects as `readFields`. */
export function evalsha(
  redis: Redis,
  sha: string,
  keys: readonly string[],
  args: readonly (string | number)[],
): Promise<unknown> {
  let text = `*${3 + keys.length + args.length}\r\n$7\r\nevalsha\r\n$${sha.length}\r\n${sha}\r\n`;
  text += bulkString(String(keys.length));
  for (const key of keys) text += bulkString(key);
  for (const arg of args) text += bulkString(String(arg));
  return send(redis, "evalsha", keys[0] ?? "", text);
}

function bulkString(text: string): string {
  return `$${Buffer.byteLength(text)}\r\n${text}\r\n`;
}

function send(redis: Redis, name: string, key: string, text: string): Promise<unknown> {
  const command = new WrittenCommand(name, key, text);
  redis.sendCommand(command as unknown as Command);
  timer ??= setInterval(giveUpLate, CHECK_MS).unref();
  return command.promise;
}

const underWay = new Set<WrittenCommand>();
let timer: NodeJS.Timeout | undefined;

function giveUpLate(): void {
  const nowMs = performance.now();
  for (const command of underWay) if (nowMs >= command.endMs) command.reject(new Error("Command timed out"));
  if (underWay.size > 0) return;
  clearInterval(timer);
  timer = undefined;
}

/** What ioredis asks of a command. */
class WrittenCommand {
  readonly name: string;
  /** What ioredis hangs on errors: no values. */
  readonly args: readonly string[];
  readonly promise: Promise<unknown>;
  isTraced = false;
  endMs = Number.POSITIVE_INFINITY;
  /** These two by themselves, for instrumentation calls them so. */
  resolve!: (reply: unknown) => void;
  reject!: (error: Error) => void;
  readonly #text: string;

  constructor(name: string, key: string, text: string) {
    this.name = name;
    this.args = [key];
    this.#text = text;
    underWay.add(this);
    this.promise = new Promise((resolve, reject) => {
      this.resolve = (reply) => {
        underWay.delete(this);
        resolve(textOf(reply));
      };
      this.reject = (error) => {
        underWay.delete(this);
        reject(error);
      };
    });
  }

  toWritable(): string {
    return this.#text;
  }

  setTimeout(limitMs: number): void {
    this.endMs = performance.now() + limitMs;
  }
}

/** A reply with its strings as text. */
function textOf(reply: unknown): unknown {
  if (reply instanceof Buffer) return reply.toString();
  return Array.isArray(reply) ? reply.map(textOf) : reply;
}
