// A unary call, taken from node:http2 itself: what grpc-js puts around each call costs a fifth of a verification. It must not
// know what the methods do, nor what else goes on in the server.
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { gunzipSync, inflateSync } from "node:zlib";
import { Metadata, status as Status } from "@grpc/grpc-js";
import type { Reason } from "../domain/errors.js";
import { type Connection, connectionOf } from "./connection.js";
import type { PartialStatus } from "./grpc-js.js";

/** A unary method as grpc-js keeps it. */
export interface UnaryMethod {
  readonly path: string;
  readonly func: (call: UnaryCall, respond: (refusal: PartialStatus | null, answer?: unknown) => void) => void;
  /** The bytes are to be copied before the next answer is serialized. */
  readonly serialize: (answer: unknown) => Buffer;
  readonly deserialize: (bytes: Buffer) => unknown;
}

/** Who is told what becomes of calls. */
export interface UnaryCallListener {
  /** The call cannot be handled, or its time is over; whoever is told answers by `sendStatus`. */
  onRefused(call: UnaryCall, reason: Reason): void;
  /** The status that the call gets, CANCELLED where the client went first; once. */
  onStatus(call: UnaryCall, code: Status): void;
  /** Everything was sent, or the client is gone; once. */
  onEnd(call: UnaryCall): void;
}

/** Flag of compression and length, before each message. */
const PREFIX_BYTES = 5;
const CONTENT = { ":status": 200, "content-type": "application/grpc+proto" } as const;
/**
 * Without the date that Node would add: HTTP wants one of a server with a clock, no gRPC client reads it, and it takes some
 * 7 % of a verification. Node takes `sendDate` here, but documents it only for its Http2ServerResponse; a test would notice.
 */
const TRAILERS_FOLLOW = { waitForTrailers: true, sendDate: false };
const NOTHING_FOLLOWS = { endStream: true, sendDate: false };
const TRAILERS = { "grpc-status": Status.OK } as const;
const DECOMPRESS = new Map([
  ["gzip", gunzipSync],
  ["deflate", inflateSync],
]);
/** What a client that compressed otherwise is told. */
const ACCEPTED = { "grpc-accept-encoding": ["identity", ...DECOMPRESS.keys()].join() };

export class UnaryCall {
  readonly headers: IncomingHttpHeaders;
  readonly path: string;
  readonly connection: Connection;
  readonly startMs = performance.now();
  request: unknown;
  readonly #stream: ServerHttp2Stream;
  readonly #listener: UnaryCallListener;
  readonly #maxMessageBytes: number;
  readonly #chunks: Buffer[] = [];
  #timer: NodeJS.Timeout | undefined;
  #receivedBytes = 0;
  #expectedBytes: number | undefined;
  #isAnswered = false;
  #isAnsweredByHandler = false;
  #hasEnded = false;

  /** `path`: of its method, as it may be logged. */
  constructor(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    path: string,
    listener: UnaryCallListener,
    maxMessageBytes: number,
  ) {
    this.#stream = stream;
    this.headers = headers;
    this.path = path;
    this.connection = connectionOf(stream.session);
    this.#listener = listener;
    this.#maxMessageBytes = maxMessageBytes;
    stream.on("close", () => this.#end());
  }

  /** Reads the request and runs the handler, for at most so long. */
  serve(method: UnaryMethod, limitMs: number): void {
    this.#timer = setTimeout(() => this.#refuse("DEADLINE_EXCEEDED"), limitMs);
    this.#stream.on("data", (chunk: Buffer) => this.#receive(chunk));
    this.#stream.on("end", () => this.#handle(method));
  }

  /** Answers with a status and no message, unless there was an answer before. */
  sendStatus({ code, details, metadata }: PartialStatus): void {
    if (this.#isOver()) return;
    this.#isAnswered = true;
    this.#listener.onStatus(this, code);
    // The rest of the request would fill the window of its connection.
    this.#stream.resume();
    this.#stream.respond(
      {
        ...CONTENT,
        "grpc-status": code,
        "grpc-message": encodeURI(details),
        ...(code === Status.UNIMPLEMENTED && ACCEPTED),
        ...metadata?.toHttp2Headers(),
      },
      NOTHING_FOLLOWS,
    );
    this.#end();
  }

  /** The address at the other end. */
  get peer(): string {
    return this.connection.peer;
  }

  /** Whether it ended before its handler answered. */
  get cancelled(): boolean {
    return this.#isOver() && !this.#isAnsweredByHandler;
  }

  /** As instrumentation for grpc-js looks for it. */
  get metadata(): Metadata {
    return Metadata.fromHttp2Headers(this.headers);
  }

  /** Ends it, whatever the client has not read of the answer: it would be waited for without limit. */
  close(): void {
    this.#stream.close(constants.NGHTTP2_CANCEL);
  }

  #receive(chunk: Buffer): void {
    if (this.#isOver()) return;
    this.#chunks.push(chunk);
    this.#receivedBytes += chunk.length;
    if (this.#receivedBytes < PREFIX_BYTES) return;
    this.#expectedBytes ??= PREFIX_BYTES + joined(this.#chunks).readUInt32BE(1);
    if (this.#expectedBytes > PREFIX_BYTES + this.#maxMessageBytes) this.#refuse("REQUEST_TOO_LARGE");
    else if (this.#receivedBytes > this.#expectedBytes) this.#refuse("MALFORMED_REQUEST");
  }

  #handle(method: UnaryMethod): void {
    if (this.#isOver()) return;
    const reason = this.#readRequest(method);
    // A chunk keeps all that was read from the socket with it.
    this.#chunks.length = 0;
    if (reason !== undefined) {
      this.#refuse(reason);
      return;
    }
    method.func(this, (refusal, answer) => {
      if (this.#isOver()) return;
      this.#isAnsweredByHandler = true;
      if (refusal) this.sendStatus(refusal);
      else this.#answer(method.serialize(answer));
    });
  }

  /** The reason if it cannot be read. */
  #readRequest({ deserialize }: UnaryMethod): Reason | undefined {
    if (this.#receivedBytes !== this.#expectedBytes) return "MALFORMED_REQUEST";
    const frame = joined(this.#chunks);
    const message = frame.subarray(PREFIX_BYTES);
    const isCompressed = frame[0] === 1;
    const encoding = String(this.headers["grpc-encoding"] ?? "identity");
    const decompress = DECOMPRESS.get(encoding);
    if (isCompressed && decompress === undefined) {
      return encoding === "identity" ? "MALFORMED_REQUEST" : "UNIMPLEMENTED";
    }
    try {
      const plain =
        isCompressed && decompress ? decompress(message, { maxOutputLength: this.#maxMessageBytes }) : message;
      this.request = deserialize(plain);
      return undefined;
    } catch (error) {
      const isTooLarge = error instanceof RangeError && "code" in error && error.code === "ERR_BUFFER_TOO_LARGE";
      return isTooLarge ? "REQUEST_TOO_LARGE" : "MALFORMED_REQUEST";
    }
  }

  #refuse(reason: Reason): void {
    this.#listener.onRefused(this, reason);
  }

  #answer(message: Buffer): void {
    const stream = this.#stream;
    const frame = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
    frame.writeUInt8(0);
    frame.writeUInt32BE(message.length, 1);
    message.copy(frame, PREFIX_BYTES);
    this.#isAnswered = true;
    this.#listener.onStatus(this, Status.OK);
    stream.respond(CONTENT, TRAILERS_FOLLOW);
    stream.on("wantTrailers", () => {
      stream.sendTrailers(TRAILERS);
      this.#end();
    });
    stream.end(frame);
  }

  /** Node tells that a stream is destroyed only later. */
  #isOver(): boolean {
    const { destroyed, closed } = this.#stream;
    return this.#isAnswered || this.#hasEnded || destroyed || closed;
  }

  #end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    clearTimeout(this.#timer);
    if (!this.#isAnswered) this.#listener.onStatus(this, Status.CANCELLED);
    this.#listener.onEnd(this);
  }
}

function joined(chunks: readonly Buffer[]): Buffer {
  const [first, ...others] = chunks;
  return first !== undefined && others.length === 0 ? first : Buffer.concat(chunks);
}
