// What grpc-js and Node's HTTP/2 do by themselves and must not, and how it is undone. All of it was seen with the pinned
// versions (test/bad-input/ has them); some of it reaches into what grpc-js keeps private.
import type { EventEmitter } from "node:events";
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { Duplex } from "node:stream";
import { type Server, type ServerInterceptingCallInterface, setLogger } from "@grpc/grpc-js";
import type { Logger } from "pino";
import type { Reason } from "../domain/errors.js";
import type { UnaryMethod } from "./unary-call.js";

// What grpc-js says by itself of streams, by how it begins; the rest of its texts can hold what the client sent.
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

/** A stream of node:http2, as its server tells of it. */
type StreamListener = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  flags: number,
  rawHeaders: readonly string[],
) => void;

/** What stands for the method of a call that is not served: what the log calls it, and why. */
export interface Unserved {
  readonly path: string;
  readonly refusal: Reason;
}

const UNKNOWN: Unserved = { path: "unknown", refusal: "UNIMPLEMENTED" };
const TOO_LARGE: Unserved = { path: "too large", refusal: "REQUEST_TOO_LARGE" };

export interface UnaryRoute {
  /** Takes all calls but those of streaming methods, unknown methods' too, instead of grpc-js. */
  readonly serveUnary: (
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    method: UnaryMethod | Unserved,
  ) => void;
  /** A call of any method with more is not served. */
  readonly maxMetadataBytes: number;
}

/** Tells of each HTTP/2 server that a server makes for its addresses, when grpc-js listens to it, and divides its calls. */
export function onHttp2Server(
  server: Server,
  tell: (http2Server: EventEmitter) => void,
  { serveUnary, maxMetadataBytes }: UnaryRoute,
): void {
  const setUp: unknown = Reflect.get(server, "_setupHandlers");
  const countStream: unknown = Reflect.get(server, "onStreamOpened");
  const handlers: unknown = Reflect.get(server, "handlers");
  if (typeof setUp !== "function" || typeof countStream !== "function" || !(handlers instanceof Map)) {
    throw new Error(CHANGED);
  }
  const methods = handlers as ReadonlyMap<string, UnaryMethod & { readonly type: string }>;
  Reflect.set(server, "_setupHandlers", (http2Server: EventEmitter, ...rest: readonly unknown[]) => {
    Reflect.apply(setUp, server, [http2Server, ...rest]);
    const [byGrpcJs, ...others] = http2Server.listeners("stream") as StreamListener[];
    if (byGrpcJs === undefined || others.length > 0) throw new Error(CHANGED);
    http2Server.removeAllListeners("stream");
    const serve: StreamListener = (stream, headers, flags, rawHeaders) => {
      const isTooLarge = mendHeaders(headers, rawHeaders) > maxMetadataBytes;
      const method = isTooLarge ? TOO_LARGE : (methods.get(headers[":path"] ?? "") ?? UNKNOWN);
      const isGrpc = headers["content-type"]?.startsWith("application/grpc") ?? false;
      const isStreaming = "type" in method && method.type !== "unary";
      if (!isGrpc || isStreaming) return byGrpcJs(stream, headers, flags, rawHeaders);
      // Its close event tells the rest.
      stream.on("error", () => {});
      // For the time after which a connection is idle.
      Reflect.apply(countStream, server, [stream]);
      serveUnary(stream, headers, method);
    };
    http2Server.on("stream", serve);
    tell(http2Server);
  });
}

/**
 * Node keeps only the first of several `authorization` headers: they become an empty one, which is no credential. grpc-js
 * takes any part of a `grpc-timeout` for a good one: that becomes an empty one, which is no time, and times that overflow
 * grpc-js's timer become one that is longer than any call lasts here. Gives the bytes of all headers.
 */
function mendHeaders(headers: IncomingHttpHeaders, rawHeaders: readonly string[]): number {
  let credentials = 0;
  let bytes = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? "";
    const value = rawHeaders[at + 1] ?? "";
    bytes += name.length + value.length;
    if (name === "authorization") credentials += 1;
    else if (name === "grpc-timeout") headers[name] = timeoutOf(value);
  }
  if (credentials > 1) headers.authorization = "";
  return bytes;
}

const MS_OF_UNIT: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };
const MAX_HOURS = 2;

/** What is left for a call with such headers; undefined without limit, NaN for a limit that is none. */
export function timeLimitMs({ "grpc-timeout": value }: IncomingHttpHeaders): number | undefined {
  if (value === undefined) return undefined;
  const [, amount, unit = ""] = /^(\d{1,8})([HMSmun])$/.exec(String(value)) ?? [];
  return Number(amount) * (MS_OF_UNIT[unit] ?? 0);
}

function timeoutOf(value: string): string {
  const limitMs = timeLimitMs({ "grpc-timeout": value }) ?? Number.NaN;
  if (Number.isNaN(limitMs)) return "";
  return limitMs > MAX_HOURS * 3_600_000 ? `${MAX_HOURS}H` : value;
}

/** Sends a status by grpc-js's own method, where `sendStatus` of the call is ours. */
export function sendOwnStatus(call: ServerInterceptingCallInterface, status: PartialStatus): void {
  const prototype = Object.getPrototypeOf(call) as ServerInterceptingCallInterface;
  prototype.sendStatus.call(call, status);
}

/** A status as grpc-js takes it. */
export type PartialStatus = Parameters<ServerInterceptingCallInterface["sendStatus"]>[0];

/** An answer that its client does not read is waited for without limit: closes the stream whatever is left in it. */
export function closeStream(call: object): void {
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
