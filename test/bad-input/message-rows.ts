// Calls whose body is wrong below protobuf: how messages are framed, counted, compressed and timed.
import { deflateSync, gzipSync } from "node:zlib";
import {
  callFrames,
  encodeRequest,
  exchange,
  LIST_PATH,
  METHODS,
  message,
  open,
  outcomeOf,
  requestHeaders,
  type Target,
} from "./grpc.js";
import { FLAG, headersFrame } from "./raw-http2.js";
import { CANARY, MALFORMED, OK, type Row, TOO_LARGE, TOO_LONG, UNIMPLEMENTED } from "./row.js";

const MARKED = encodeRequest("verifyToken", { token: CANARY });
const VERIFY_PATH = METHODS.verifyToken.path;

/** VerifyToken with this body, of which the client has no more to send unless it is left open. */
function body(name: string, bytes: Buffer, expected: Row["expected"], leaveOpen = false): Row {
  return { name, act: (target) => exchange(target, { path: VERIFY_PATH, body: bytes, leaveOpen }), expected };
}

function compressed(name: string, encoding: string | undefined, bytes: Buffer, expected: Row["expected"]): Row {
  const changes = { "grpc-encoding": encoding };
  return { name, act: (target) => exchange(target, { path: VERIFY_PATH, changes, body: bytes }), expected };
}

function timeout(name: string, value: string, expected: Row["expected"]): Row {
  return { name, act: (target) => exchange(target, { changes: { "grpc-timeout": value } }), expected };
}

/** A timeout that has the time to pass, for the message comes late. */
function waiting(name: string, value: string, expected: Row["expected"]): Row {
  const act = async (target: Target) => {
    const connection = await open(target);
    const [headers = Buffer.alloc(0), data = Buffer.alloc(0)] = callFrames(target, 1, {
      changes: { "grpc-timeout": value },
    });
    await connection.send(headers);
    const early = await connection.end(1, 100).catch(() => undefined);
    if (early) return outcomeOf(early);
    await connection.send(data);
    return outcomeOf(await connection.end(1));
  };
  return { name, act, expected };
}

const squeezed = (bytes: Uint8Array) => message(gzipSync(bytes), { flag: 1 });
/** A VerifyTokenRequest of so many bytes: a tag, a length of three bytes, the token. */
const requestOf = (size: number) => encodeRequest("verifyToken", { token: CANARY.padEnd(size - 4, "a") });
const KIB_64 = 65_536;

export const MESSAGE_ROWS: readonly Row[] = [
  body("two messages in a unary call", Buffer.concat([message(MARKED), message(MARKED)]), MALFORMED),
  body("three empty messages in a unary call", Buffer.alloc(15), MALFORMED),
  body("a message and the beginning of another", Buffer.concat([message(MARKED), Buffer.of(0, 0)]), MALFORMED),
  body("no message", Buffer.alloc(0), MALFORMED),
  {
    name: "no message, the headers end the stream",
    act: async (target) => {
      const connection = await open(target);
      const headers = requestHeaders(LIST_PATH, target.metadata);
      await connection.send(headersFrame(1, headers, FLAG.END_HEADERS | FLAG.END_STREAM));
      return outcomeOf(await connection.end(1));
    },
    expected: MALFORMED,
  },
  body("half a length prefix", Buffer.of(0, 0, 0), MALFORMED),
  body("a length prefix and no message", message(Buffer.alloc(0), { length: 4 }), MALFORMED),
  body("less than the length says", message(MARKED, { length: MARKED.length + 1 }), MALFORMED),
  body("more than the length says", message(MARKED, { length: MARKED.length - 1 }), MALFORMED),
  body("a length of 0xffffffff", message(MARKED, { length: 0xffffffff }), TOO_LARGE),
  body("a length of 0x80000000", message(MARKED, { length: 0x80000000 }), TOO_LARGE),
  body("a length of 0xffffffff, left open", message(MARKED, { length: 0xffffffff }), TOO_LARGE, true),
  body("a length of 64 KiB and 1, left open", message(MARKED, { length: KIB_64 + 1 }), TOO_LARGE, true),
  body("a length of 4 MiB and 1, left open", message(MARKED, { length: 4 * 1024 * 1024 + 1 }), TOO_LARGE, true),
  body("a message of 60 KB", message(requestOf(60_000)), OK),
  body("less than the length says, left open", message(MARKED, { length: 60_000 }), TOO_LONG, true),
  body("half a length prefix, left open", Buffer.of(0, 0, 0), TOO_LONG, true),
  body("nothing, left open", Buffer.alloc(0), TOO_LONG, true),

  body("compressed, and no encoding is named", squeezed(MARKED), MALFORMED),
  compressed("compressed, and the encoding is identity", "identity", squeezed(MARKED), MALFORMED),
  compressed("compressed with an unknown encoding", CANARY, squeezed(MARKED), UNIMPLEMENTED),
  compressed("an unknown encoding is named and not used", CANARY, message(MARKED), OK),
  compressed("an encoding __proto__", "__proto__", squeezed(MARKED), UNIMPLEMENTED),
  compressed("garbage as gzip", "gzip", message(Buffer.from(CANARY), { flag: 1 }), MALFORMED),
  compressed("garbage as deflate", "deflate", message(Buffer.from(CANARY), { flag: 1 }), MALFORMED),
  compressed("gzip as deflate", "deflate", squeezed(MARKED), MALFORMED),
  compressed("nothing as gzip", "gzip", message(Buffer.alloc(0), { flag: 1 }), MALFORMED),
  compressed("half of a gzip stream", "gzip", message(gzipSync(MARKED).subarray(0, 20), { flag: 1 }), MALFORMED),
  compressed("gzip of bytes that are no protobuf", "gzip", squeezed(Buffer.from([0x0a, 0x7f, 0x41])), MALFORMED),
  compressed("gzip", "gzip", squeezed(MARKED), OK),
  compressed("deflate", "deflate", message(deflateSync(MARKED), { flag: 1 }), OK),
  compressed("gzip of 64 KiB", "gzip", squeezed(requestOf(KIB_64)), OK),
  compressed("gzip of 64 KiB and 1", "gzip", squeezed(requestOf(KIB_64 + 1)), TOO_LARGE),
  compressed("gzip of 4 MiB", "gzip", squeezed(requestOf(4 * 1024 * 1024)), TOO_LARGE),
  {
    name: "a gzip bomb of 100 MB",
    act: (target) => {
      // 100 KB as one gzip stream: it is cut where flow control would make us wait.
      const bomb = gzipSync(Buffer.alloc(100_000_000)).subarray(0, 65_000);
      const changes = { "grpc-encoding": "gzip" };
      return exchange(target, { path: VERIFY_PATH, changes, body: message(bomb, { flag: 1 }) });
    },
    expected: TOO_LARGE,
  },
  {
    name: "50 gzip bombs in one call",
    act: (target) => {
      const bomb = squeezed(Buffer.alloc(1_000_000));
      const changes = { "grpc-encoding": "gzip" };
      return exchange(target, { path: VERIFY_PATH, changes, body: Buffer.concat(Array(50).fill(bomb)) });
    },
    // It has a second message: none of them is looked at.
    expected: MALFORMED,
  },
  body("a compressed flag of 7", message(MARKED, { flag: 7 }), OK),
  body("a compressed flag of 255", message(MARKED, { flag: 255 }), OK),
  compressed("a compressed flag of 2 with an encoding", "gzip", message(gzipSync(MARKED), { flag: 2 }), MALFORMED),

  timeout("a timeout that is a word", CANARY, MALFORMED),
  timeout("an empty timeout", "", MALFORMED),
  timeout("a negative timeout", "-1S", MALFORMED),
  timeout("a timeout without unit", "1000", MALFORMED),
  timeout("a timeout of an unknown unit", "10D", MALFORMED),
  timeout("a timeout of nine digits", "100000000S", MALFORMED),
  timeout("a timeout of 400 digits", `${"9".repeat(400)}H`, MALFORMED),
  timeout("a timeout with a fraction", "1.5S", MALFORMED),
  timeout("a timeout with something before it", `5${CANARY} 10S`, MALFORMED),
  timeout("two timeouts in one", "10S, 10S", MALFORMED),
  waiting("a timeout of 0", "0S", TOO_LONG),
  waiting("a timeout of a nanosecond", "1n", TOO_LONG),
  waiting("the longest timeout, 11,000 years", "99999999H", OK),
  waiting("a timeout of 25 days, more than a timer of Node takes", "2160000S", OK),
  waiting("a timeout of 50 days, which is negative in 32 bits", "4300000S", OK),
  {
    name: "two timeouts",
    act: (target) => exchange(target, { changes: { "grpc-timeout": "10S" }, extra: [["grpc-timeout", "20S"]] }),
    expected: OK,
  },
];
