// What grpc-js and Node's HTTP/2 do by themselves and must not, and how it is undone. All of it was seen with the pinned
// versions (test/bad-input/ has them); some of it reaches into what grpc-js keeps private.
import type { EventEmitter } from "node:events";
import { constants, type IncomingHttpHeaders } from "node:http2";
import { Duplex } from "node:stream";
import { type Server, type ServerInterceptingCallInterface, setLogger } from "@grpc/grpc-js";
import type { Logger } from "pino";
import type { Reason } from "../domain/errors.js";

// What grpc-js says by itself, by how it begins; the rest of its texts can hold what the client sent.
const OF_GRPC_JS: readonly (readonly [beginning: string, reason: Reason])[] = [
  ["Invalid grpc-timeout", "MALFORMED_REQUEST"],
  ["Failed to decompress", "MALFORMED_REQUEST"],
  ["Error deserializing request", "MALFORMED_REQUEST"],
  ["Received a second request", "MALFORMED_REQUEST"],
  ["Received no request", "MALFORMED_REQUEST"],
  ["Received message compressed with unsupported", "UNIMPLEMENTED"],
  ["Received message that decompresses", "REQUEST_TOO_LARGE"],
  ["Received message larger", "REQUEST_TOO_LARGE"],
  ["Deadline exceeded", "DEADLINE_EXCEEDED"],
];

/** Why grpc-js itself ended a call; undefined where that is a fault of ours. */
export function reasonOfGrpcJs(details: string): Reason | undefined {
  return OF_GRPC_JS.find(([beginning]) => details.startsWith(beginning))?.[1];
}

/** The path under which all unknown methods are called. */
export const UNKNOWN_METHOD = "unknown";

/** An unknown method is answered before any interceptor, with its path in the text: gives it one that can be refused. */
export function catchUnknownMethods(server: Server): void {
  const handlers: unknown = Reflect.get(server, "handlers");
  if (!(handlers instanceof Map)) throw new Error(CHANGED);
  const find = handlers.get.bind(handlers);
  const unknown = { type: "unary", path: UNKNOWN_METHOD, func: () => {}, serialize: () => {}, deserialize: () => {} };
  handlers.get = (path: string) => find(path) ?? unknown;
}

/**
 * Tells of each HTTP/2 server that a server makes for its addresses, before grpc-js listens to it: `prependListener` there
 * comes before grpc-js.
 */
export function onHttp2Server(server: Server, tell: (http2Server: EventEmitter) => void): void {
  const setUp: unknown = Reflect.get(server, "_setupHandlers");
  if (typeof setUp !== "function") throw new Error(CHANGED);
  Reflect.set(server, "_setupHandlers", (http2Server: EventEmitter, ...rest: readonly unknown[]) => {
    tell(http2Server);
    Reflect.apply(setUp, server, [http2Server, ...rest]);
  });
}

/**
 * Node keeps only the first of several `authorization` headers, and grpc-js drops values that are not printable ASCII, so
 * that nobody would know of them: such a header becomes an empty one, which is no credential and names nobody.
 */
export function showUnusableHeaders(http2Server: EventEmitter): void {
  const show = (_stream: unknown, headers: IncomingHttpHeaders, _flags: unknown, rawHeaders: readonly string[]) => {
    for (let at = 0; at < rawHeaders.length; at += 2) {
      const [name = "", value = ""] = [rawHeaders[at], rawHeaders[at + 1]];
      const isDoubled = name === "authorization" && rawHeaders.lastIndexOf(name) !== at;
      if (isDoubled || (!name.startsWith(":") && !/^[ -~]*$/.test(value))) headers[name] = "";
    }
  };
  http2Server.prependListener("stream", show);
}

/** An answer that its client does not read is waited for without limit: closes the stream whatever is left in it. */
export function closeStream(call: ServerInterceptingCallInterface): void {
  const stream: unknown = Reflect.get(call, "stream");
  if (stream instanceof Duplex && "close" in stream && typeof stream.close === "function") {
    stream.close(constants.NGHTTP2_CANCEL);
  }
}

/** grpc-js can print a whole bearer token (a header it cannot parse): only the beginning, which is its own, passes. */
export function redactGrpcLog(log: Logger): void {
  const print = (...parts: unknown[]) => {
    const [beginning = ""] = parts
      .map(String)
      .join(" ")
      .split(/["'`:]/);
    log.debug({ grpc: beginning.slice(0, 80) }, "grpc-js");
  };
  setLogger({ error: print, info: print, debug: print });
}

const CHANGED = "this version of grpc-js keeps its parts elsewhere";
