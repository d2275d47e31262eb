// A unary call, taken from node:http2 itself: what grpc-js puts around each call costs a fifth of a verification. Connections,
// streams, and unary calls that are compressed or go to no method of ours, stay with grpc-js.
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { type PeerCertificate, TLSSocket } from "node:tls";
import {
  type handleUnaryCall,
  Metadata,
  type ServerUnaryCall,
  status as Status,
  type sendUnaryData,
} from "@grpc/grpc-js";
import type { Reason } from "../domain/errors.js";
import type { PartialStatus } from "./grpc-js.js";

/** A unary method as grpc-js keeps it. */
export interface UnaryMethod {
  readonly path: string;
  readonly func: handleUnaryCall<unknown, unknown>;
  readonly serialize: (answer: unknown) => Buffer;
  readonly deserialize: (bytes: Buffer) => unknown;
}

/** Who is told what becomes of a call. */
export interface UnaryCallListener {
  /** The request cannot be handled; whoever is told answers by `sendStatus`. */
  onBadRequest(reason: Reason): void;
  /** The call gets this status; once at most. */
  onStatus(code: Status): void;
  /** Everything was sent, or the client is gone; once. */
  onEnd(): void;
}

/** Flag of compression and length, before each message. */
const PREFIX_BYTES = 5;
const HTTP_HEADERS = { ":status": 200, "content-type": "application/grpc+proto" } as const;
const HEADERS = {
  ...HTTP_HEADERS,
  "grpc-accept-encoding": "identity,deflate,gzip",
  "grpc-encoding": "identity",
} as const;
const TRAILERS_FOLLOW = { waitForTrailers: true } as const;
const TRAILERS = { "grpc-status": Status.OK, "grpc-message": "OK" } as const;

export class UnaryCall {
  readonly stream: ServerHttp2Stream;
  readonly handler: UnaryMethod;
  readonly metadata: Metadata;
  /** When it came; undefined once its end was observed. */
  startMs: number | undefined = performance.now();
  request: unknown;
  #listener!: UnaryCallListener;
  readonly #chunks: Buffer[] = [];
  #receivedBytes = 0;
  #expectedBytes: number | undefined;
  #isAnswered = false;
  #isAnsweredByHandler = false;
  #hasEnded = false;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, handler: UnaryMethod) {
    this.stream = stream;
    this.handler = handler;
    this.metadata = Metadata.fromHttp2Headers(headers);
  }

  /** Reads the request and runs the handler. */
  start(listener: UnaryCallListener, maxMessageBytes: number): void {
    const { stream } = this;
    this.#listener = listener;
    stream.on("data", (chunk: Buffer) => this.#receive(chunk, maxMessageBytes));
    stream.once("end", () => this.#handle());
    stream.once("close", () => this.#end());
  }

  /** Answers with a status and no message, unless there was an answer before. */
  sendStatus({ code, details, metadata }: PartialStatus): void {
    if (this.#isOver()) return;
    this.#isAnswered = true;
    this.#listener.onStatus(code);
    const trailers = { "grpc-status": code, "grpc-message": encodeURI(details), ...metadata?.toHttp2Headers() };
    this.stream.respond({ ...HTTP_HEADERS, ...trailers }, { endStream: true });
    this.#end();
  }

  /** Whether it ended before its handler answered. */
  get cancelled(): boolean {
    return this.#isOver() && !this.#isAnsweredByHandler;
  }

  getPath(): string {
    return this.handler.path;
  }

  getPeer(): string {
    const { remoteAddress, remotePort } = this.stream.session?.socket ?? {};
    return remoteAddress === undefined ? "unknown" : `${remoteAddress}:${remotePort}`;
  }

  getAuthContext(): { readonly sslPeerCertificate?: PeerCertificate | undefined } {
    const socket = this.stream.session?.socket;
    if (!(socket instanceof TLSSocket) || !socket.authorized) return {};
    const certificate = socket.getPeerCertificate();
    return { sslPeerCertificate: certificate.raw ? certificate : undefined };
  }

  #receive(chunk: Buffer, maxMessageBytes: number): void {
    if (this.#isOver()) return;
    this.#chunks.push(chunk);
    this.#receivedBytes += chunk.length;
    if (this.#receivedBytes < PREFIX_BYTES) return;
    this.#expectedBytes ??= PREFIX_BYTES + joined(this.#chunks).readUInt32BE(1);
    if (this.#expectedBytes > PREFIX_BYTES + maxMessageBytes) this.#listener.onBadRequest("REQUEST_TOO_LARGE");
    else if (this.#receivedBytes > this.#expectedBytes) this.#listener.onBadRequest("MALFORMED_REQUEST");
  }

  #handle(): void {
    if (this.#isOver()) return;
    const respond: sendUnaryData<unknown> = (error, answer) => {
      if (this.#isOver()) return;
      this.#isAnsweredByHandler = true;
      if (error) this.sendStatus({ code: Status.UNKNOWN, details: "", ...error });
      else this.#answer(answer);
    };
    try {
      if (this.#receivedBytes !== this.#expectedBytes) throw new Error("half a message");
      this.request = this.handler.deserialize(joined(this.#chunks).subarray(PREFIX_BYTES));
      // A chunk keeps all that was read from the socket with it.
      this.#chunks.length = 0;
    } catch {
      this.#listener.onBadRequest("MALFORMED_REQUEST");
      return;
    }
    this.handler.func(this as unknown as ServerUnaryCall<unknown, unknown>, respond);
  }

  #answer(answer: unknown): void {
    const { stream } = this;
    const message = this.handler.serialize(answer);
    const frame = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
    frame.writeUInt8(0);
    frame.writeUInt32BE(message.length, 1);
    message.copy(frame, PREFIX_BYTES);
    this.#isAnswered = true;
    this.#listener.onStatus(Status.OK);
    stream.respond(HEADERS, TRAILERS_FOLLOW);
    stream.once("wantTrailers", () => {
      stream.sendTrailers(TRAILERS);
      this.#end();
    });
    stream.end(frame);
  }

  /** Node tells that a stream is destroyed only later. */
  #isOver(): boolean {
    const { destroyed, closed } = this.stream;
    return this.#isAnswered || this.#hasEnded || destroyed || closed;
  }

  #end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#listener.onEnd();
  }
}

function joined(chunks: readonly Buffer[]): Buffer {
  const [first, ...others] = chunks;
  return first !== undefined && others.length === 0 ? first : Buffer.concat(chunks);
}
