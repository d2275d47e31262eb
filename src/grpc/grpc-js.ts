// What grpc-js and Node's HTTP/2 do by themselves and must not, and how it is undone. All of it was seen with the pinned
// versions (test/bad-input/ has them); some of it reaches into what grpc-js keeps private.
import { EventEmitter } from "node:events";
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
  const handlers = mapOf(server, "handlers");
  const find = handlers.get.bind(handlers);
  const unknown = { type: "unary", path: UNKNOWN_METHOD, func: () => {}, serialize: () => {}, deserialize: () => {} };
  handlers.get = (path) => find(path) ?? unknown;
}

/** Node keeps the first of several `authorization` headers and forgets the others: a doubled credential becomes none. */
export function dropDoubledCredentials(server: Server): void {
  for (const http2Server of mapOf(server, "http2Servers").keys()) {
    if (!(http2Server instanceof EventEmitter)) throw new Error(CHANGED);
    const look = (_stream: unknown, headers: IncomingHttpHeaders, _flags: unknown, rawHeaders: readonly string[]) => {
      const isDoubled = rawHeaders.indexOf("authorization") !== rawHeaders.lastIndexOf("authorization");
      if (isDoubled) delete headers.authorization;
    };
    http2Server.prependListener("stream", look);
  }
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

function mapOf(server: Server, name: string): Map<unknown, unknown> {
  const map: unknown = Reflect.get(server, name);
  if (!(map instanceof Map)) throw new Error(CHANGED);
  return map;
}
