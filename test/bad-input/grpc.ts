// gRPC over the raw client: calls whose every part can be wrong, and what the server made of them.
import type { Socket } from "node:net";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { ApiTokenServiceService } from "../../gen/apitoken/v1/api_token_service.js";
import { TokenVerificationServiceService } from "../../gen/apitoken/v1/token_verification_service.js";
import { RpcError } from "../harness.js";
import type { Header } from "./hpack.js";
import { dataFrame, FLAG, headerFrames, OPENING, RawHttp2, type StreamEnd } from "./raw-http2.js";

/** The server under test and how to reach it. */
export interface Target {
  /** A fresh connection, open and (over TLS) shaken hands; the runner closes it after the row. */
  readonly connect: () => Promise<Socket>;
  /** Sent with each well-formed call: who calls. */
  readonly metadata: readonly Header[];
}

/** How a call ended. `details` holds the bytes of grpc-status-details-bin. */
export type Outcome =
  | {
      readonly code: string;
      readonly reason: string | undefined;
      readonly sqlState: string | undefined;
      readonly detailTypes: readonly string[];
      readonly message: string;
      readonly details: Buffer;
      readonly response: unknown;
    }
  | { readonly http: number }
  | { readonly closed: "stream" | "connection"; readonly error: string }
  | { readonly open: true };

export const METHODS = { ...ApiTokenServiceService, ...TokenVerificationServiceService };
export type Method = keyof typeof METHODS;
type RequestOf<Name extends Method> = Parameters<(typeof METHODS)[Name]["requestSerialize"]>[0];

/** The most harmless call; it changes nothing. */
export const LIST_PATH = METHODS.listTokens.path;

/** The headers of a good call, but for the changes; undefined leaves one out. */
export function requestHeaders(
  path: string,
  metadata: readonly Header[],
  changes: Readonly<Record<string, string | undefined>> = {},
): Header[] {
  const good = {
    ":method": "POST",
    ":scheme": "http",
    ":path": path,
    ":authority": "localhost",
    te: "trailers",
    "content-type": "application/grpc",
  };
  const changed = Object.entries({ ...good, ...changes });
  return [...changed.flatMap(([name, value]): Header[] => (value === undefined ? [] : [[name, value]])), ...metadata];
}

/** A message with its prefix of five bytes, which may lie. */
export function message(bytes: Uint8Array, { flag = 0, length = bytes.length } = {}): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flag);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, bytes]);
}

/** A connection that has sent what every connection begins with. */
export async function open(target: Target, opening: Buffer = OPENING): Promise<RawHttp2> {
  const connection = new RawHttp2(await target.connect());
  await connection.send(opening);
  return connection;
}

export interface Exchange {
  readonly path?: string;
  readonly changes?: Readonly<Record<string, string | undefined>>;
  readonly extra?: readonly Header[];
  /** The bytes of the body; one empty message by default. */
  readonly body?: Buffer;
  /** The client says that it will send more. */
  readonly leaveOpen?: boolean;
}

/** One call on a connection of its own. */
export async function exchange(target: Target, call: Exchange = {}): Promise<Outcome> {
  const connection = await open(target);
  await connection.send(...callFrames(target, 1, call));
  return outcomeOf(await connection.end(1), call.path ?? LIST_PATH);
}

/** The frames of a call. DATA frames stay below the size and window that every server begins with. */
export function callFrames(target: Pick<Target, "metadata">, streamId: number, call: Exchange = {}): Buffer[] {
  const { path = LIST_PATH, changes, extra = [], body = message(Buffer.alloc(0)), leaveOpen = false } = call;
  const headers = requestHeaders(path, [...target.metadata, ...extra], changes);
  const parts = Array.from({ length: Math.max(1, Math.ceil(body.length / 16_384)) }, (_, i) =>
    body.subarray(i * 16_384, (i + 1) * 16_384),
  );
  const data = parts.map((part, i) =>
    dataFrame(streamId, part, i === parts.length - 1 && !leaveOpen ? FLAG.END_STREAM : 0),
  );
  return [...headerFrames(streamId, headers), ...data];
}

/** A call of an RPC with the bytes given as its request message. */
export function send(target: Target, method: Method, request: Uint8Array, extra: readonly Header[] = []) {
  return exchange(target, { path: METHODS[method].path, body: message(request), extra });
}

/** A well-formed call of an RPC; what is not given has its default. */
export function rpc<Name extends Method>(
  target: Target,
  method: Name,
  request: Partial<RequestOf<Name>>,
  extra: readonly Header[] = [],
): Promise<Outcome> {
  return send(target, method, encodeRequest(method, request), extra);
}

export function encodeRequest<Name extends Method>(method: Name, request: Partial<RequestOf<Name>>): Buffer {
  const codec = METHODS[method] as {
    requestDeserialize(bytes: Buffer): object;
    requestSerialize(request: object): Buffer;
  };
  return codec.requestSerialize({ ...codec.requestDeserialize(Buffer.alloc(0)), ...request });
}

/** A field of the response of a call that has to succeed. */
export function responseField<T>(outcome: Outcome, field: string): T {
  if (!("code" in outcome) || outcome.code !== "OK") throw new Error(`the call failed: ${JSON.stringify(outcome)}`);
  return (outcome.response as Record<string, T>)[field] as T;
}

export function outcomeOf(end: StreamEnd, path = ""): Outcome {
  if ("closed" in end) return end;
  const value = (name: string) => end.headers.findLast(([key]) => key === name)?.[1];
  const code = value("grpc-status");
  if (code === undefined) return { http: Number(value(":status")) };
  const details = Buffer.from(value("grpc-status-details-bin") ?? "", "base64");
  const metadata = new Metadata();
  metadata.set("grpc-status-details-bin", details);
  const text = decodeURIComponent(value("grpc-message") ?? "");
  const status = new RpcError({ code: Number(code), details: text, metadata } as ServiceError);
  const method = Object.values(METHODS).find((candidate) => candidate.path === path);
  return {
    code: status.code,
    reason: status.reason,
    sqlState: status.sqlState,
    detailTypes: status.detailTypes,
    message: text,
    details,
    response: end.data.length < 5 ? undefined : method?.responseDeserialize(end.data.subarray(5)),
  };
}
