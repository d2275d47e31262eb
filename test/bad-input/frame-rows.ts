// HTTP/2 frames that break RFC 9113 or RFC 7541: the server ends the stream or the connection, never itself.
import { callFrames, message, type Outcome, open, outcomeOf, type Target } from "./grpc.js";
import { encodeHeaders, encodeInteger } from "./hpack.js";
import {
  dataFrame,
  FLAG,
  frame,
  headersFrame,
  numberFrame,
  PREFACE,
  pingFrame,
  type RawHttp2,
  SETTING,
  settingsFrame,
  TYPE,
  u32,
} from "./raw-http2.js";
import { CANARY, CLOSED, OK, OPEN, RESET, type Row, TOO_LARGE } from "./row.js";

const MARK = Buffer.from(CANARY);
const NOTHING = Buffer.alloc(0);

/** The frames, and then a good call on stream 101: it tells that the connection lives on, or ends with it. */
function frames(name: string, expected: Row["expected"], ...sent: readonly Buffer[]): Row {
  return {
    name,
    act: async (target) => {
      const connection = await open(target);
      await connection.send(...sent, ...callFrames(target, 101));
      return outcomeOf(await connection.end(101));
    },
    expected,
  };
}

/** The frames after the headers of a call on stream 1, and how that call ends. */
function during(name: string, expected: Row["expected"], ...sent: readonly Buffer[]): Row {
  return {
    name,
    act: async (target) => {
      const connection = await open(target);
      const [headers = NOTHING] = callFrames(target, 1);
      await connection.send(headers, ...sent);
      return outcomeOf(await connection.end(1));
    },
    expected,
  };
}

/** A header block that is not what it should be. */
function block(name: string, bytes: Buffer, expected: Row["expected"] = CLOSED): Row {
  return frames(name, expected, frame(TYPE.HEADERS, FLAG.END_HEADERS, 1, bytes));
}

function settings(name: string, id: number, value: number, expected: Row["expected"] = CLOSED): Row {
  return frames(name, expected, settingsFrame([[id, value]]));
}

/** A call on this stream after one on another. */
function streams(name: string, first: number, second: number, expected: Row["expected"]): Row {
  return {
    name,
    act: async (target) => {
      const connection = await open(target);
      await connection.send(...callFrames(target, first), ...callFrames(target, second));
      return outcomeOf(await connection.end(second));
    },
    expected,
  };
}

/** The connection is not ended: a PING that comes behind everything else is answered. */
export async function stillOpen(connection: RawHttp2): Promise<Outcome> {
  const mark = Buffer.from("are you?");
  await connection.send(pingFrame(mark));
  return connection.until((): Outcome | undefined => {
    const isAnswered = connection.frames.some(({ type, payload }) => type === TYPE.PING && payload.equals(mark));
    return isAnswered ? OPEN : connection.connectionEnd();
  });
}

async function openWith(target: Target, opening: Buffer): Promise<Outcome> {
  const connection = await open(target, opening);
  await connection.send(...callFrames(target, 1));
  return outcomeOf(await connection.end(1));
}

const good = encodeHeaders([["x-canary", CANARY]]);

export const FRAME_ROWS: readonly Row[] = [
  block("HPACK: an index of 0", Buffer.of(0x80)),
  block("HPACK: an index beyond the tables", Buffer.of(0xff, 0xff, 0x7f)),
  block("HPACK: an index of more than 64 bits", Buffer.concat([Buffer.alloc(12, 0xff), Buffer.of(1)])),
  block("HPACK: a literal that is cut off", good.subarray(0, good.length - 3)),
  block("HPACK: a length beyond the block", Buffer.concat([Buffer.of(0), encodeInteger(1_000_000, 7), MARK])),
  block("HPACK: a length of 4 GiB", Buffer.concat([Buffer.of(0), encodeInteger(2 ** 32, 7), MARK])),
  block("HPACK: a dynamic table larger than allowed", encodeInteger(2 ** 31, 5, 0x20)),
  block("HPACK: a table size behind a header", Buffer.concat([good, Buffer.of(0x20)])),
  block("HPACK: a Huffman code that is EOS", Buffer.of(0, 0x84, 0xff, 0xff, 0xff, 0xff, 0)),
  block("HPACK: Huffman padding of 8 bits", Buffer.of(0, 0x82, 0x1f, 0xff, 0)),
  block("no headers at all", NOTHING, OK),

  frames("a frame that says it is 16 MB", CLOSED, frame(TYPE.DATA, 0, 1, MARK, 0xffffff)),
  frames("a frame of 16,385 bytes", CLOSED, dataFrame(1, Buffer.alloc(16_385))),
  frames("DATA on stream 0", CLOSED, dataFrame(0, MARK)),
  frames("HEADERS on stream 0", CLOSED, headersFrame(0, [["x-canary", CANARY]])),
  frames("RST_STREAM on stream 0", CLOSED, numberFrame(TYPE.RST_STREAM, 0, 8)),
  frames("SETTINGS on stream 1", CLOSED, frame(TYPE.SETTINGS, 0, 1, NOTHING)),
  frames("PING on stream 1", CLOSED, frame(TYPE.PING, 0, 1, Buffer.alloc(8))),
  frames("GOAWAY on stream 1", CLOSED, frame(TYPE.GOAWAY, 0, 1, Buffer.alloc(8))),
  frames("DATA on a stream that was never opened", CLOSED, dataFrame(1, MARK)),
  frames("RST_STREAM of a stream that was never opened", CLOSED, numberFrame(TYPE.RST_STREAM, 1, 8)),
  frames("WINDOW_UPDATE of a stream that was never opened", CLOSED, numberFrame(TYPE.WINDOW_UPDATE, 1, 1)),
  frames("RST_STREAM of three bytes", CLOSED, frame(TYPE.RST_STREAM, 0, 1, Buffer.alloc(3))),
  frames("PRIORITY of four bytes", CLOSED, frame(TYPE.PRIORITY, 0, 1, Buffer.alloc(4))),
  frames(
    "PUSH_PROMISE from a client",
    CLOSED,
    frame(TYPE.PUSH_PROMISE, FLAG.END_HEADERS, 1, Buffer.concat([u32(2), good])),
  ),
  frames("CONTINUATION without HEADERS", CLOSED, frame(TYPE.CONTINUATION, FLAG.END_HEADERS, 1, good)),
  frames(
    "another frame between HEADERS and CONTINUATION",
    CLOSED,
    headersFrame(1, [["x-canary", CANARY]], 0),
    pingFrame(),
  ),
  frames("a frame type that nobody knows", OK, frame(0xee, 0xff, 0, MARK), frame(0xef, 0xff, 77, MARK)),
  frames("GOAWAY with a long text", CLOSED, frame(TYPE.GOAWAY, 0, 0, Buffer.concat([Buffer.alloc(8), MARK]))),
  frames("GOAWAY that is cut off", CLOSED, frame(TYPE.GOAWAY, 0, 0, Buffer.alloc(7))),

  frames("WINDOW_UPDATE of 0 for the connection", CLOSED, numberFrame(TYPE.WINDOW_UPDATE, 0, 0)),
  frames("WINDOW_UPDATE beyond 2^31 for the connection", CLOSED, numberFrame(TYPE.WINDOW_UPDATE, 0, 0x7fffffff)),
  frames("WINDOW_UPDATE of three bytes", CLOSED, frame(TYPE.WINDOW_UPDATE, 0, 0, Buffer.alloc(3))),
  during("WINDOW_UPDATE of 0 for a stream", CLOSED, numberFrame(TYPE.WINDOW_UPDATE, 1, 0)),
  // Node 20 ends the stream, Node 24 the connection.
  during("WINDOW_UPDATE beyond 2^31 for a stream", [RESET, CLOSED], numberFrame(TYPE.WINDOW_UPDATE, 1, 0x7fffffff)),
  during("DATA with more padding than payload", CLOSED, frame(TYPE.DATA, FLAG.PADDED, 1, Buffer.of(200, 1, 2))),
  during("DATA after the end of the stream", CLOSED, dataFrame(1, Buffer.alloc(5)), dataFrame(1, MARK)),
  during(
    "HEADERS after the end of the stream",
    CLOSED,
    dataFrame(1, Buffer.alloc(5)),
    headersFrame(1, [["x-canary", CANARY]]),
  ),
  during(
    "more DATA than the window",
    TOO_LARGE,
    dataFrame(1, message(NOTHING, { length: 20 * 16_384 }), 0),
    ...Array.from({ length: 20 }, () => dataFrame(1, Buffer.alloc(16_384), 0)),
  ),
  during(
    "RST_STREAM with an error that nobody knows",
    CLOSED,
    numberFrame(TYPE.RST_STREAM, 1, 0xffffffff),
    numberFrame(TYPE.WINDOW_UPDATE, 0, 0),
  ),

  frames("SETTINGS of five bytes", CLOSED, frame(TYPE.SETTINGS, 0, 0, Buffer.alloc(5))),
  frames("an acknowledgement of SETTINGS with a payload", CLOSED, frame(TYPE.SETTINGS, FLAG.ACK, 0, Buffer.alloc(6))),
  frames(
    "acknowledgements of SETTINGS never sent",
    CLOSED,
    ...Array(10).fill(frame(TYPE.SETTINGS, FLAG.ACK, 0, NOTHING)),
  ),
  settings("SETTINGS: ENABLE_PUSH of 2", SETTING.ENABLE_PUSH, 2),
  settings("SETTINGS: a window of 2^31", SETTING.INITIAL_WINDOW_SIZE, 0x80000000),
  settings("SETTINGS: a frame size of 1", SETTING.MAX_FRAME_SIZE, 1),
  settings("SETTINGS: a frame size of 2^24", SETTING.MAX_FRAME_SIZE, 0x1000000),
  settings("SETTINGS: one that nobody knows", 0x7777, 0xffffffff, OK),
  settings("SETTINGS: a header table of 4 GiB", SETTING.HEADER_TABLE_SIZE, 0xffffffff, OK),
  frames("PING of seven bytes", CLOSED, pingFrame(Buffer.alloc(7))),
  frames("PING of nine bytes", CLOSED, pingFrame(Buffer.alloc(9))),
  frames("an answer to a PING never sent", CLOSED, frame(TYPE.PING, FLAG.ACK, 0, Buffer.alloc(8))),

  streams("an even stream id", 1, 2, CLOSED),
  {
    name: "a stream id that goes back",
    act: async (target) => {
      const connection = await open(target);
      await connection.send(...callFrames(target, 5), ...callFrames(target, 3));
      return stillOpen(connection);
    },
    expected: OPEN,
  },
  streams("a stream id used twice", 1, 1, CLOSED),
  streams("the highest stream id", 1, 0x7fffffff, OK),
  // Node 24 passes over priorities.
  during(
    "a priority of itself",
    [OK, CLOSED],
    frame(TYPE.PRIORITY, 0, 1, Buffer.concat([u32(1), Buffer.of(0)])),
    dataFrame(1, Buffer.alloc(5)),
  ),
  frames(
    "HEADERS that depend on themselves",
    CLOSED,
    frame(TYPE.HEADERS, FLAG.END_HEADERS | FLAG.PRIORITY, 1, Buffer.concat([u32(1), Buffer.of(16), good])),
  ),
  frames(
    "HEADERS with padding beyond the frame",
    CLOSED,
    frame(TYPE.HEADERS, FLAG.END_HEADERS | FLAG.PADDED, 1, Buffer.concat([Buffer.of(255), good])),
  ),

  { name: "no SETTINGS after the preface", act: (target) => openWith(target, PREFACE), expected: CLOSED },
  {
    name: "the preface twice",
    act: (target) => openWith(target, Buffer.concat([PREFACE, settingsFrame(), PREFACE])),
    expected: CLOSED,
  },
];
