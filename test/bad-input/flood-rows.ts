// Too much of what is allowed, too little of anything, and peers that speak something else.
import { randomBytes } from "node:crypto";
import { stillOpen } from "./frame-rows.js";
import {
  callFrames,
  type Exchange,
  exchange,
  METHODS,
  message,
  type Outcome,
  open,
  outcomeOf,
  type Target,
} from "./grpc.js";
import { encodeHeaders } from "./hpack.js";
import {
  dataFrame,
  FLAG,
  frame,
  numberFrame,
  PREFACE,
  pingFrame,
  RawHttp2,
  SETTING,
  settingsFrame,
  TYPE,
  u32,
} from "./raw-http2.js";
import { CANARY, CLOSED, OK, OPEN, RESET, type Row } from "./row.js";

const NOTHING = Buffer.alloc(0);

/** The same again and again: refused by ending the connection, or borne, for it costs next to nothing. */
function flood(
  name: string,
  count: number,
  part: Buffer | ((i: number, target: Target) => Buffer[]),
  expected: Row["expected"],
  before: readonly Buffer[] = [],
): Row {
  return {
    name: `${name}, ${count} times`,
    act: async (target) => {
      const connection = await open(target);
      await connection.send(...before);
      // In portions, for otherwise a server that hangs up early could not make us stop.
      for (let i = 0; i < count && !connection.isClosed; i += 500) {
        const portion = Array.from({ length: Math.min(500, count - i) }, (_, j) =>
          typeof part === "function" ? part(i + j, target) : [part],
        );
        await connection.send(...portion.flat());
      }
      return stillOpen(connection);
    },
    expected,
    recoveryMs: 3000,
  };
}

/** Bytes that are no HTTP/2: the server hangs up. */
function noise(name: string, bytes: () => Buffer): Row {
  return {
    name,
    act: async (target) => {
      const connection = await open(target, bytes());
      return connection.until(() => connection.connectionEnd());
    },
    expected: CLOSED,
  };
}

/** A peer that stops. It may wait as long as it likes, for it costs one socket. */
function silence(name: string, bytes: Buffer): Row {
  return {
    name,
    act: async (target) => {
      const connection = await open(target, bytes);
      // The server's own SETTINGS: the connection has reached HTTP/2.
      return connection.until((): Outcome | undefined =>
        connection.frames.some(({ type }) => type === TYPE.SETTINGS) ? OPEN : connection.connectionEnd(),
      );
    },
    expected: OPEN,
  };
}

async function withoutWindow(target: Target, call: Exchange): Promise<Outcome> {
  const connection = await open(
    target,
    Buffer.concat([
      PREFACE,
      settingsFrame([
        [SETTING.HEADER_TABLE_SIZE, 0],
        [SETTING.INITIAL_WINDOW_SIZE, 0],
      ]),
    ]),
  );
  await connection.send(...callFrames(target, 1, call));
  return outcomeOf(await connection.end(1));
}

const streamOf = (i: number) => 2 * i + 1;
const opened = (i: number, target: Target) => callFrames(target, streamOf(i), { leaveOpen: true });
const reset = (i: number) => numberFrame(TYPE.RST_STREAM, streamOf(i), 8);
const continuation = (block: Buffer) => frame(TYPE.CONTINUATION, 0, 1, block);
const priority = (i: number) => [frame(TYPE.PRIORITY, 0, streamOf(i), Buffer.concat([u32(0), Buffer.of(1)]))];
const headersWithoutEnd = frame(TYPE.HEADERS, 0, 1, encodeHeaders([["x-canary", CANARY]]));
const clientHello = () =>
  Buffer.concat([
    Buffer.from("1603010200010001fc0303", "hex"),
    randomBytes(32),
    Buffer.alloc(469),
    Buffer.from(CANARY),
  ]);

export const FLOOD_ROWS: readonly Row[] = [
  flood("rapid reset", 3000, (i, target) => [...callFrames(target, streamOf(i)), reset(i)], CLOSED),
  flood("HEADERS and reset", 3000, (i, target) => [...callFrames(target, streamOf(i)).slice(0, 1), reset(i)], CLOSED),
  flood("calls that the client leaves open", 3000, opened, CLOSED),
  flood("calls whose answers are not read", 1000, (i, target) => callFrames(target, streamOf(i)), OPEN),
  flood("CONTINUATION", 20_000, continuation(encodeHeaders([["x-canary", CANARY]])), CLOSED, [headersWithoutEnd]),
  flood("empty CONTINUATION", 20_000, continuation(NOTHING), CLOSED, [headersWithoutEnd]),
  flood("PING", 20_000, pingFrame(Buffer.from("CANARY7f")), CLOSED),
  flood("SETTINGS", 20_000, settingsFrame([[SETTING.HEADER_TABLE_SIZE, 0]]), CLOSED),
  flood("empty SETTINGS", 20_000, settingsFrame(), CLOSED),
  flood("WINDOW_UPDATE", 20_000, numberFrame(TYPE.WINDOW_UPDATE, 0, 1), OPEN),
  // Node 20 bears the next two, Node 24 does not.
  flood("PRIORITY", 20_000, priority, [OPEN, CLOSED]),
  flood("a frame type that nobody knows", 20_000, frame(0xee, 0, 0, Buffer.from(CANARY)), [OPEN, CLOSED]),
  {
    name: "empty DATA, 20000 times, and then the message",
    act: async (target) => {
      const connection = await open(target);
      const [headers = NOTHING, data = NOTHING] = callFrames(target, 1);
      await connection.send(headers, ...Array(20_000).fill(dataFrame(1, NOTHING, 0)), data);
      return outcomeOf(await connection.end(1));
    },
    expected: CLOSED,
  },
  {
    name: "a message in frames of one byte",
    act: async (target) => {
      const connection = await open(target);
      const [headers = NOTHING] = callFrames(target, 1);
      const bytes = message(Buffer.from(`\x0a\x0e${CANARY}`), {});
      await connection.send(headers, ...Array.from(bytes, (byte) => dataFrame(1, Buffer.of(byte), 0)), dataFrame(1));
      return outcomeOf(await connection.end(1));
    },
    expected: { code: "OK" },
  },
  {
    name: "100 connections that say nothing",
    act: async (target) => {
      await Promise.all(Array.from({ length: 100 }, () => open(target, NOTHING)));
      return exchange(target);
    },
    expected: OK,
  },
  {
    name: "a client that never lets the answer be sent",
    act: (target) => withoutWindow(target, { path: METHODS.verifyToken.path }),
    expected: { ...RESET, error: "CANCEL" },
  },

  noise("HTTP/1.1 GET", () => Buffer.from(`GET /${CANARY} HTTP/1.1\r\nHost: localhost\r\n\r\n`)),
  noise("an upgrade from HTTP/1.1 to h2c", () =>
    Buffer.from(
      `GET /${CANARY} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n`,
    ),
  ),
  noise("a TLS ClientHello", clientHello),
  noise("a preface in lower case", () => Buffer.from(PREFACE.toString().toLowerCase())),
  noise("a preface that goes wrong in its last byte", () =>
    Buffer.concat([PREFACE.subarray(0, 23), Buffer.from("X"), Buffer.from(CANARY)]),
  ),
  noise("random bytes", () => Buffer.concat([Buffer.of(0), randomBytes(4096)])),
  noise("a megabyte of zeros", () => Buffer.alloc(1 << 20)),
  noise("Redis", () => Buffer.from(`*1\r\n$14\r\n${CANARY}\r\n`)),
  silence("half a preface and then nothing", PREFACE.subarray(0, 12)),
  silence("a preface and then nothing", PREFACE),
  silence("a frame header and then nothing", Buffer.concat([PREFACE, settingsFrame(), Buffer.of(0, 0, 8, TYPE.PING)])),
  {
    name: "half a preface and then the end",
    act: async (target) => {
      const connection = new RawHttp2(await target.connect());
      connection.socket.end(PREFACE.subarray(0, 12));
      return connection.until(() => connection.connectionEnd());
    },
    expected: CLOSED,
  },
  {
    name: "a call and then the end of the connection",
    act: async (target) => {
      const connection = await open(target);
      connection.socket.end(Buffer.concat(callFrames(target, 1, { leaveOpen: true })));
      return connection.until(() => connection.connectionEnd());
    },
    expected: CLOSED,
  },
  {
    name: "HEADERS that never end",
    act: async (target) => {
      const connection = await open(target);
      const headers = callFrames(target, 1)[0] ?? NOTHING;
      headers.writeUInt8(headers.readUInt8(4) & ~FLAG.END_HEADERS, 4);
      await connection.send(headers);
      return connection.until((): Outcome | undefined =>
        connection.frames.some(({ type }) => type === TYPE.SETTINGS) ? OPEN : connection.connectionEnd(),
      );
    },
    expected: OPEN,
  },
];
