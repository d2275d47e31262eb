// What grpc-js and Node's HTTP/2 do by themselves and must not, and how it is undone. All of it was seen with the pinned
// versions (test/bad-input/ has them); some of it reaches into what grpc-js keeps private.
import type { EventEmitter } from "node:events";
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { Duplex } from "node:stream";
import type { PeerCertificate } from "node:tls";
import { Metadata, type Server, type ServerInterceptingCallInterface, setLogger } from "@grpc/grpc-js";
import type { Logger } from "pino";
import type { Reason } from "../domain/errors.js";
import { Connection } from "./connection.js";
import { type TraceContext, traceContextOf } from "./trace-context.js";
import type { UnaryMethod } from "./unary-call.js";

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

/** Paths of methods that stand for those that are refused, by why. */
const REFUSALS: ReadonlyMap<string, Reason> = new Map([
  ["unknown", "UNIMPLEMENTED"],
  ["too large", "REQUEST_TOO_LARGE"],
]);

/** Why all calls of a method are refused; undefined for one of ours. */
export function refusalOf(path: string): Reason | undefined {
  return REFUSALS.get(path);
}

/** An unknown method is answered before any interceptor, with its path in the text: gives it one that can be refused. */
export function catchUnknownMethods(server: Server): void {
  const handlers: unknown = Reflect.get(server, "handlers");
  if (!(handlers instanceof Map)) throw new Error(CHANGED);
  const find = handlers.get.bind(handlers);
  const nothing = { type: "unary", func: () => {}, serialize: () => {}, deserialize: () => {} };
  const refused = new Map([...REFUSALS.keys()].map((path) => [path, { ...nothing, path }]));
  handlers.get = (path: string) => find(path) ?? refused.get(path) ?? refused.get("unknown");
}

/** A stream of node:http2, as its server tells of it. */
type StreamListener = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, ...rest: readonly unknown[]) => void;

/**
 * Tells of each HTTP/2 server that a server makes for its addresses, when grpc-js listens to it: `prependListener` there
 * comes before grpc-js. Unary calls of known methods that are not compressed go to `serveUnary` instead of grpc-js.
 */
export function onHttp2Server(
  server: Server,
  tell: (http2Server: EventEmitter) => void,
  serveUnary: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, method: UnaryMethod) => void,
): void {
  const setUp: unknown = Reflect.get(server, "_setupHandlers");
  const countStream: unknown = Reflect.get(server, "onStreamOpened");
  const handlers: unknown = Reflect.get(server, "handlers");
  if (typeof setUp !== "function" || typeof countStream !== "function" || !(handlers instanceof Map)) {
    throw new Error(CHANGED);
  }
  Reflect.set(server, "_setupHandlers", (http2Server: EventEmitter, ...rest: readonly unknown[]) => {
    Reflect.apply(setUp, server, [http2Server, ...rest]);
    const [byGrpcJs, ...others] = http2Server.listeners("stream") as StreamListener[];
    if (byGrpcJs === undefined || others.length > 0) throw new Error(CHANGED);
    http2Server.removeAllListeners("stream");
    const serve: StreamListener = (stream, headers, ...more) => {
      const path = headers[":path"] ?? "";
      const method: unknown = handlers.get(path);
      const isUncompressed = (headers["grpc-encoding"] ?? "identity") === "identity";
      const isGrpc = headers["content-type"]?.startsWith("application/grpc") ?? false;
      if (!isGrpc || !isUncompressed || !isUnary(method) || refusalOf(method.path) !== undefined) {
        byGrpcJs(stream, headers, ...more);
        return;
      }
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

function isUnary(method: unknown): method is UnaryMethod {
  return typeof method === "object" && method !== null && Reflect.get(method, "type") === "unary";
}

/**
 * Node keeps only the first of several `authorization` headers, grpc-js drops values that are not printable ASCII, and takes
 * any part of a `grpc-timeout` for a good one. Such a header becomes an empty one, which is no credential, names nobody and
 * is no time. Times that overflow grpc-js's timer become one that is longer than any call lasts here. A call with more
 * metadata than that many bytes goes to the method that is refused for it.
 */
export function showUnusableHeaders(http2Server: EventEmitter, maxMetadataBytes: number): void {
  const show = (_stream: unknown, headers: IncomingHttpHeaders, _flags: unknown, rawHeaders: readonly string[]) => {
    let credentials = 0;
    let bytes = 0;
    for (let at = 0; at < rawHeaders.length; at += 2) {
      const name = rawHeaders[at] ?? "";
      const value = rawHeaders[at + 1] ?? "";
      bytes += name.length + value.length;
      if (name === "authorization") credentials += 1;
      if (name === "grpc-timeout") headers[name] = timeoutOf(value);
      else if (!name.startsWith(":") && !/^[ -~]*$/.test(value)) headers[name] = "";
    }
    if (credentials > 1) headers.authorization = "";
    if (bytes > maxMetadataBytes) headers[":path"] = "too large";
  };
  http2Server.prependListener("stream", show);
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

interface AuthenticatedCall {
  getPeer(): string;
  getAuthContext(): { readonly sslPeerCertificate?: PeerCertificate | undefined };
}

const connections = new WeakMap<object, Connection>();

/** The connection of a call. */
export function connectionOf(call: AuthenticatedCall): Connection {
  const session = sessionOf(call);
  const known = session && connections.get(session);
  if (known !== undefined) return known;
  // grpc-js would take the certificate apart anew for every call.
  const connection = new Connection(peerOf(call), call.getAuthContext().sslPeerCertificate);
  if (session !== undefined) connections.set(session, connection);
  return connection;
}

/** The address at the other end, without its port, by which peers are told apart. */
export function peerOf(call: { getPeer(): string }): string {
  const peer = call.getPeer();
  const portAt = peer.lastIndexOf(":");
  return portAt > 0 ? peer.slice(0, portAt) : peer;
}

/** A call, seen by a handler or an interceptor, is wrapped around the one that has the stream. */
function sessionOf(call: object): object | undefined {
  const inner: unknown = Reflect.get(call, "call") ?? Reflect.get(call, "nextCall");
  if (typeof inner === "object" && inner !== null) return sessionOf(inner);
  const stream: unknown = Reflect.get(call, "stream");
  const session: unknown = typeof stream === "object" && stream !== null ? Reflect.get(stream, "session") : undefined;
  return typeof session === "object" && session !== null ? session : undefined;
}

/** Sends a status by grpc-js's own method, where `sendStatus` of the call is ours. */
export function sendOwnStatus(call: ServerInterceptingCallInterface, status: PartialStatus): void {
  const prototype = Object.getPrototypeOf(call) as ServerInterceptingCallInterface;
  prototype.sendStatus.call(call, status);
}

/** A status as grpc-js takes it. */
export type PartialStatus = Parameters<ServerInterceptingCallInterface["sendStatus"]>[0];

/** The path of a call's method, for the log. */
export function pathOf(call: object): string {
  const handler: unknown = Reflect.get(call, "handler");
  return String(typeof handler === "object" && handler !== null ? Reflect.get(handler, "path") : "unknown");
}

/** The caller's place in a trace, for the log, where only the call is at hand. */
export function traceOf(call: object): TraceContext | undefined {
  const metadata: unknown = Reflect.get(call, "metadata");
  return metadata instanceof Metadata ? traceContextOf(metadata) : undefined;
}

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
