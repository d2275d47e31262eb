// Calls whose headers are wrong: method, path, content type, metadata.
import { UNAUTHENTICATED } from "../secure-service.js";
import { callFrames, exchange, LIST_PATH, open, outcomeOf } from "./grpc.js";
import type { Header } from "./hpack.js";
import { FLAG, headersFrame } from "./raw-http2.js";
import { CANARY, CLOSED, OK, RESET, type Row, TOO_LARGE, UNIMPLEMENTED } from "./row.js";

const UNSUPPORTED_TYPE = { http: 415 };

/** A row that changes or leaves out some of the headers of a good call. */
function changed(name: string, changes: Record<string, string | undefined>, expected: Row["expected"]): Row {
  return { name, act: (target) => exchange(target, { changes }), expected };
}

/** A row with further metadata. */
function withMetadata(name: string, extra: readonly Header[], expected: Row["expected"]): Row {
  return { name, act: (target) => exchange(target, { extra }), expected };
}

function path(name: string, value: string, expected: Row["expected"]): Row {
  return { name, act: (target) => exchange(target, { path: value }), expected };
}

const filler = (size: number) => CANARY + "x".repeat(size - CANARY.length);
const headersOf = (count: number, size: number) =>
  Array.from({ length: count }, (_, i): Header => [`x-canary-${i}`, filler(size)]);

export const REQUEST_ROWS: readonly Row[] = [
  changed("no content type", { "content-type": undefined }, UNSUPPORTED_TYPE),
  changed("an empty content type", { "content-type": "" }, UNSUPPORTED_TYPE),
  changed("content type application/json", { "content-type": "application/json" }, UNSUPPORTED_TYPE),
  changed("content type text/plain with a marker", { "content-type": `text/${CANARY}` }, UNSUPPORTED_TYPE),
  changed("content type application/grpc+proto", { "content-type": "application/grpc+proto" }, OK),
  changed("content type application/grpc-web", { "content-type": "application/grpc-web" }, OK),
  changed("GET instead of POST", { ":method": "GET" }, OK),
  changed("PUT instead of POST", { ":method": "PUT" }, OK),
  changed("a method that nobody knows", { ":method": CANARY }, OK),
  changed("CONNECT", { ":method": "CONNECT", ":scheme": undefined, ":path": undefined }, UNIMPLEMENTED),
  changed("no method", { ":method": undefined }, RESET),
  changed("an empty method", { ":method": "" }, RESET),
  changed("no scheme", { ":scheme": undefined }, RESET),
  changed("no path", { ":path": undefined }, RESET),
  changed("no authority", { ":authority": undefined }, RESET),
  changed("no te", { te: undefined }, OK),
  changed("te gzip, which HTTP/2 forbids", { te: "gzip" }, RESET),
  changed("a connection header, which HTTP/2 forbids", { connection: CANARY }, RESET),
  changed("a pseudo header that nobody knows", { te: undefined, ":canary": CANARY }, RESET),

  path("an unknown service", `/apitoken.v1.${CANARY}/ListTokens`, UNIMPLEMENTED),
  path("an unknown method", `/apitoken.v1.ApiTokenService/${CANARY}`, UNIMPLEMENTED),
  path("a method of another case", "/apitoken.v1.ApiTokenService/listtokens", UNIMPLEMENTED),
  path("a path without slashes", CANARY, RESET),
  path("a path of one slash", "/", UNIMPLEMENTED),
  path("an empty path", "", RESET),
  path("a path with a query", `${LIST_PATH}?${CANARY}`, UNIMPLEMENTED),
  path("a path with a slash too many", `/${LIST_PATH}`, UNIMPLEMENTED),
  path("a path that climbs", `/apitoken.v1.ApiTokenService/../${CANARY}`, UNIMPLEMENTED),
  path("a percent-encoded path", LIST_PATH.replace("List", "%4Cist"), UNIMPLEMENTED),
  path("a path of an object's own property", "/apitoken.v1.ApiTokenService/constructor", UNIMPLEMENTED),
  path("the path __proto__", "__proto__", RESET),
  path("a path of bytes above ASCII", `/${CANARY}\xff\xfe\xc3\x28`, UNIMPLEMENTED),
  path("a path of 8 KB", `/${filler(8000)}`, UNIMPLEMENTED),
  path("a path of 100 KB", `/${filler(100_000)}`, CLOSED),

  withMetadata("an upper-case header name", [["X-Canary", CANARY]], RESET),
  withMetadata("a pseudo header after the others", [[":path", `/${CANARY}`]], RESET),
  // RFC 9113 asks for a reset of these; Node goes on without the header.
  withMetadata("an empty header name", [["", CANARY]], OK),
  withMetadata("a space in a header name", [["x canary", CANARY]], OK),
  withMetadata("NUL in metadata", [["x-canary", `${CANARY}\0`]], OK),
  withMetadata("a line break in metadata", [["x-canary", `${CANARY}\r\nx-user-id: admin`]], OK),
  withMetadata("bytes above ASCII in metadata", [["x-canary", `${CANARY}\xff\xc3\x28`]], OK),
  withMetadata("bytes above ASCII in authorization", [["authorization", `Bearer ${CANARY}\xff`]], OK),
  withMetadata("-bin metadata that is no base64", [["x-canary-bin", `${CANARY}!*%`]], OK),
  withMetadata("metadata called __proto__", [["__proto__", CANARY]], OK),
  withMetadata("a grpc-status in the request", [["grpc-status", "0"]], OK),
  withMetadata(
    "an organization twice",
    [
      ["x-organization-id", "a"],
      ["x-organization-id", "b"],
    ],
    UNAUTHENTICATED,
  ),
  withMetadata("100 headers", headersOf(100, 20), OK),
  withMetadata("200 headers", headersOf(200, 20), RESET),
  withMetadata("15 KB of metadata", headersOf(1, 15_000), OK),
  withMetadata("20 KB of metadata in one value", headersOf(1, 20_000), TOO_LARGE),
  withMetadata("20 KB of metadata in 20 values", headersOf(20, 1000), TOO_LARGE),
  withMetadata("100 KB of metadata", headersOf(100, 1000), TOO_LARGE),
  {
    name: "headers twice on one stream",
    act: async (target) => {
      const connection = await open(target);
      const [headers = Buffer.alloc(0), data = Buffer.alloc(0)] = callFrames(target, 1);
      await connection.send(headers, headers, data);
      return outcomeOf(await connection.end(1));
    },
    expected: RESET,
  },
  {
    name: "trailers with a pseudo header",
    act: async (target) => {
      const connection = await open(target);
      const trailers = headersFrame(1, [[":path", CANARY]], FLAG.END_HEADERS | FLAG.END_STREAM);
      await connection.send(...callFrames(target, 1, { leaveOpen: true }), trailers);
      return outcomeOf(await connection.end(1));
    },
    expected: RESET,
  },
  {
    name: "trailers from the client",
    act: async (target) => {
      const connection = await open(target);
      const trailers = headersFrame(1, [["x-canary", CANARY]], FLAG.END_HEADERS | FLAG.END_STREAM);
      await connection.send(...callFrames(target, 1, { leaveOpen: true }), trailers);
      return outcomeOf(await connection.end(1));
    },
    expected: OK,
  },
];
