// Random bad input: valid calls, damaged. A case follows from its seed and index alone, so each can be run again by itself.
import { callFrames, encodeRequest, METHODS, type Method, message } from "./grpc.js";
import { FLAG, frame, numberFrame, OPENING, PREFACE, pingFrame, settingsFrame, TYPE } from "./raw-http2.js";
import { CANARY } from "./row.js";

/** Bytes to send: as the request message of an RPC, or as all that a connection sends. */
export type FuzzCase = readonly [to: Method | "connection", bytes: Buffer];

/** As it goes into SAVED_CASES. */
export function caseText([to, bytes]: FuzzCase): string {
  return `["${to}", Buffer.from("${bytes.toString("hex")}", "hex")],`;
}

const CONNECTION_SHARE = 0.1;

export function fuzzCase(seed: number, index: number): FuzzCase {
  const random = new Random(seed, index);
  if (random.next() < CONNECTION_SHARE) return ["connection", damagedConnection(random)];
  const method = random.pick(METHOD_NAMES);
  if (random.next() < 0.1) return [method, random.bytes(random.below(80))];
  return [method, random.damage(randomRequest(random, method))];
}

/** Whether a client's GOAWAY is among the frames: what may come after it is fatal to Node 20 (see FATAL_TO_NODE_20). */
export function hasGoaway([to, bytes]: FuzzCase): boolean {
  if (to !== "connection") return false;
  for (let at = PREFACE.length; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
    if (bytes[at + 3] === TYPE.GOAWAY) return true;
  }
  return false;
}

/** mulberry32: small, fast and the same everywhere. */
class Random {
  #state: number;

  constructor(seed: number, index: number) {
    this.#state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0;
    this.next();
  }

  /** From 0 to below 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  pick<T>(from: readonly [T, ...T[]]): T {
    return from[this.below(from.length)] ?? from[0];
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }

  /** One to four changes at random places; rarely none. */
  damage(bytes: Buffer): Buffer {
    let damaged = bytes;
    for (let changes = this.below(5); changes > 0; changes -= 1) {
      const at = this.below(damaged.length + 1);
      const count = this.below(8);
      damaged = Buffer.concat([damaged.subarray(0, at), this.#insertion(damaged, at), damaged.subarray(at + count)]);
    }
    return damaged;
  }

  #insertion(bytes: Buffer, at: number): Buffer {
    switch (this.below(7)) {
      case 0: {
        const flipped = Buffer.from(bytes.subarray(at, at + 8));
        if (flipped.length > 0) flipped.writeUInt8(flipped.readUInt8(0) ^ (1 << this.below(8)), 0);
        return flipped;
      }
      case 1:
        return this.bytes(this.below(12));
      case 2:
        return Buffer.from(this.pick(NASTY_BYTES), "hex");
      case 3: {
        const from = this.below(bytes.length + 1);
        return bytes.subarray(from, from + this.below(32));
      }
      case 4:
        return Buffer.from(this.pick(NASTY_TEXTS));
      case 5:
        return Buffer.alloc(this.below(2000), this.below(256));
      default:
        return Buffer.alloc(0);
    }
  }
}

const METHOD_NAMES = Object.keys(METHODS) as [Method, ...Method[]];

const NASTY_BYTES = [
  "00",
  "7f",
  "80",
  "ff",
  "ffffffffffffffffff01",
  "ffffffffffffffffffff01",
  "80808080808080808000",
  "ffffffff0f",
  "8080808008",
  "0b0b0b0b0c0c0c0c",
  "c0af",
  "eda080",
  "f4908080",
] as const;

const NASTY_TEXTS = [
  CANARY,
  "\0",
  "é",
  "🙂",
  "\u202e",
  "__proto__",
  "-",
  " ",
  "\r\n",
  "%s%n",
  "%ff",
  "a".repeat(130),
] as const;

const TEXTS = [CANARY, `${CANARY}2`, "good", "", "-", "dev", "apt_1", "00000000-0000-4000-8000-000000000001"] as const;
const SECONDS = [0n, 1n, 60n, 3600n, -1n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)] as const;
const NUMBERS = [0, 1, 2, -1, 1000, 999_999_999, 1_000_000_000, 2 ** 31 - 1, -(2 ** 31)] as const;

/** A request with a value in each field, which most decoders take and most checks refuse. */
function randomRequest(random: Random, method: Method): Buffer {
  const text = () => random.pick(TEXTS);
  const duration = () => ({ seconds: random.pick(SECONDS), nanos: random.pick(NUMBERS) });
  return encodeRequest(method, {
    name: text(),
    role: text(),
    userId: random.next() < 0.7 ? "" : text(),
    etag: text(),
    token: text(),
    uid: text(),
    pageToken: text(),
    requestId: random.next() < 0.7 ? "" : text(),
    pageSize: random.pick(NUMBERS),
    ttl: random.next() < 0.5 ? undefined : duration(),
    gracePeriod: random.next() < 0.5 ? undefined : duration(),
  });
}

/** Some calls on one connection, with frames changed, moved, lost and added, and rarely with single bytes damaged. */
function damagedConnection(random: Random): Buffer {
  const frames: Buffer[] = [];
  for (let streamId = 1, calls = 1 + random.below(3); calls > 0; calls -= 1, streamId += 2) {
    const method = random.pick(METHOD_NAMES);
    const bytes = message(
      random.damage(randomRequest(random, method)),
      random.next() < 0.2 ? randomPrefix(random) : {},
    );
    const call = { path: METHODS[method].path, body: bytes.subarray(0, 16_000), leaveOpen: random.next() < 0.1 };
    frames.push(...callFrames({ metadata: [["x-canary", CANARY]] }, streamId, call));
  }
  for (let changes = 1 + random.below(4); changes > 0; changes -= 1) changeFrames(random, frames);
  const opening = random.next() < 0.03 ? random.damage(OPENING) : OPENING;
  const all = Buffer.concat(frames);
  return Buffer.concat([opening, random.next() < 0.2 ? random.damage(all) : all]);
}

function randomPrefix(random: Random): { flag: number; length?: number } {
  const flag = random.pick([0, 0, 1, 2, 255]);
  return random.next() < 0.5 ? { flag } : { flag, length: random.pick([0, 1, 5, 1000, 65_537, 0xffffffff]) };
}

function changeFrames(random: Random, frames: Buffer[]): void {
  const at = random.below(frames.length + 1);
  const chosen = Buffer.from(frames[at] ?? pingFrame());
  switch (random.below(9)) {
    case 0:
      frames.splice(at, 1);
      break;
    case 1:
      frames.splice(at, 0, chosen);
      break;
    case 2:
      frames.splice(random.below(frames.length + 1), 0, ...frames.splice(at, 1));
      break;
    case 3:
      // The length says something else than what follows.
      chosen.writeUIntBE(random.pick([0, 1, chosen.length, 16_384, 16_385, 0xffffff]), 0, 3);
      frames.splice(at, 1, chosen);
      break;
    case 4:
      chosen.writeUInt8(random.below(random.next() < 0.8 ? 10 : 256), 3);
      frames.splice(at, 1, chosen);
      break;
    case 5:
      chosen.writeUInt8(random.below(256), 4);
      frames.splice(at, 1, chosen);
      break;
    case 6:
      chosen.writeUInt32BE(random.pick([0, 1, 2, 3, 5, 0x7fffffff, 0xffffffff]), 5);
      frames.splice(at, 1, chosen);
      break;
    case 7: {
      const payload = random.damage(chosen.subarray(9));
      frames.splice(
        at,
        1,
        frame(chosen.readUInt8(3), chosen.readUInt8(4), chosen.readUInt32BE(5) & 0x7fffffff, payload),
      );
      break;
    }
    default:
      frames.splice(at, 0, randomFrame(random));
  }
}

function randomFrame(random: Random): Buffer {
  const streamId = random.pick([0, 0, 1, 1, 2, 3, 5, 7, 0x7fffffff]);
  switch (random.below(5)) {
    case 0:
      return numberFrame(
        random.pick([TYPE.RST_STREAM, TYPE.WINDOW_UPDATE]),
        streamId,
        random.pick([0, 1, 8, 0x7fffffff, 0xffffffff]),
      );
    case 1:
      return settingsFrame([[random.below(10), random.pick([0, 1, 2, 16_384, 0x7fffffff, 0xffffffff])]]);
    case 2:
      return frame(TYPE.CONTINUATION, random.pick([0, FLAG.END_HEADERS]), streamId, random.bytes(random.below(30)));
    default:
      return frame(random.below(12), random.below(256), streamId, random.bytes(random.below(40)));
  }
}
