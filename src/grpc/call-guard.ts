// What stands around every call of the server, handlers or not: no call lasts for ever, no address has too many open, and
// what grpc-js says by itself, of streams, goes out as a fixed text of ours.
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { ServerInterceptingCall, type ServerInterceptor, type ServerListener, status as Status } from "@grpc/grpc-js";
import type { Logger } from "pino";
import { ApiTokenError, type Reason } from "../domain/errors.js";
import { nextCallId } from "./call.js";
import {
  closeStream,
  type PartialStatus,
  reasonOfGrpcJs,
  sendOwnStatus,
  timeLimitMs,
  type Unserved,
} from "./grpc-js.js";
import { internalStatus, isOwnStatus, statusOf } from "./status.js";
import { traceContextOf } from "./trace-context.js";
import { UnaryCall, type UnaryCallListener, type UnaryMethod } from "./unary-call.js";

export interface CallGuardOptions {
  /** How long a call may take until it is answered, and a stream until its first message has come. */
  readonly callTimeoutMs: number;
  /** Calls that one address may have open, half-sent ones too, a quarter of them streams; and streams that all may. */
  readonly maxOpenCalls: number;
  readonly maxMessageBytes: number;
  readonly countRefused: (reason: "OVERLOADED") => void;
  /** Told of each call's end once: the path of its method (a word without a slash where there is none), its status. */
  readonly observeCall: (method: string, status: string, seconds: number) => void;
  readonly log: Logger;
}

const MAX_STREAM_MS = 3_600_000;
/** What a client gets to read the end of its call; one that reads nothing would never get there. */
const FAREWELL_MS = 1000;

/** What is told of any call, and done to it. */
interface OpenCall {
  readonly path: string;
  readonly startMs: number;
  /** The address at the other end. */
  readonly peer: string;
  /** At least `traceparent`. */
  readonly headers: IncomingHttpHeaders;
  sendStatus(status: PartialStatus): void;
  close(): void;
}

export class CallGuard {
  readonly #options: CallGuardOptions;
  readonly #openStreams = new Set<OpenCall>();
  readonly #openOf = new Map<string, number>();
  #openUnary = 0;
  readonly #unaryListener: UnaryCallListener = {
    onRefused: (call, reason) => this.#refuse(call, reason),
    onStatus: (call, code) => this.#observe(call, code),
    onEnd: ({ peer }) => {
      this.#openUnary -= 1;
      this.#leave(peer);
    },
  };

  constructor(options: CallGuardOptions) {
    this.#options = options;
  }

  /** Unary calls that have not been answered. */
  get openUnary(): number {
    return this.#openUnary;
  }

  /** Serves a call that does not go through grpc-js. */
  readonly serveUnary = (
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    method: UnaryMethod | Unserved,
  ): void => {
    const { callTimeoutMs, maxMessageBytes, maxOpenCalls } = this.#options;
    const call = new UnaryCall(stream, headers, method.path, this.#unaryListener, maxMessageBytes);
    this.#openUnary += 1;
    const limitMs = timeLimitMs(headers) ?? callTimeoutMs;
    if (this.#enter(call.peer) > maxOpenCalls) this.#refuse(call, "OVERLOADED");
    else if ("refusal" in method) this.#refuse(call, method.refusal);
    else if (Number.isNaN(limitMs)) this.#refuse(call, "MALFORMED_REQUEST");
    else call.serve(method, Math.min(limitMs, callTimeoutMs));
  };

  /** Stands around the streams, which grpc-js serves. */
  readonly interceptor: ServerInterceptor = ({ path }, call) => {
    let timer: NodeJS.Timeout | undefined;
    let isObserved = false;
    const observe = (code: Status) => {
      if (!isObserved) this.#observe(stream, code);
      isObserved = true;
    };
    const stream = {
      path,
      startMs: performance.now(),
      peer: call.getConnectionInfo().remoteAddress ?? "unknown",
      headers: {} as IncomingHttpHeaders,
      sendStatus: (status: PartialStatus) => call.sendStatus(status),
      close: () => closeStream(call),
    };
    // On the call itself, for grpc-js sends its own statuses past all interceptors.
    call.sendStatus = (status) => {
      const fixed = this.#fixed(status, stream);
      observe(fixed.code ?? Status.UNKNOWN);
      sendOwnStatus(call, fixed);
    };
    const endIn = (ms: number) => setTimeout(() => this.#refuse(stream, "DEADLINE_EXCEEDED"), ms);
    let hasBegun = false;
    const listener: ServerListener = {
      // Not called for a stream that was reset before: nobody would tell its end.
      onReceiveMetadata: (metadata, next) => {
        stream.headers = { traceparent: metadata.get("traceparent").join(", ") };
        timer = endIn(this.#options.callTimeoutMs);
        const ofPeer = this.#enter(stream.peer);
        this.#openStreams.add(stream);
        const { maxOpenCalls } = this.#options;
        // Streams of one address leave room for those of others.
        const isFull = this.#openStreams.size > maxOpenCalls || ofPeer > maxOpenCalls / 4;
        if (isFull) this.#refuse(stream, "OVERLOADED");
        else next(metadata);
      },
      onReceiveMessage: (message, next) => {
        if (!hasBegun) {
          hasBegun = true;
          clearTimeout(timer);
          timer = endIn(MAX_STREAM_MS);
        }
        next(message);
      },
      // grpc-js tells every end so: an answer, a cancellation and a lost connection.
      onCancel: () => {
        clearTimeout(timer);
        observe(Status.CANCELLED);
        this.#openStreams.delete(stream);
        this.#leave(stream.peer);
      },
    };
    return new ServerInterceptingCall(call, { start: (next) => next(listener) });
  };

  /** Ends all open streams, which would otherwise hold a draining server up. */
  endStreams(): void {
    for (const stream of this.#openStreams) stream.sendStatus(SHUTTING_DOWN);
  }

  /** Counts a call in; how many its address has open now. */
  #enter(peer: string): number {
    const ofPeer = (this.#openOf.get(peer) ?? 0) + 1;
    this.#openOf.set(peer, ofPeer);
    return ofPeer;
  }

  #leave(peer: string): void {
    const ofPeer = (this.#openOf.get(peer) ?? 0) - 1;
    if (ofPeer > 0) this.#openOf.set(peer, ofPeer);
    else this.#openOf.delete(peer);
  }

  /** Refuses what no handler has seen, or has not answered in time. */
  #refuse(call: OpenCall, reason: Reason): void {
    const status = statusOf(new ApiTokenError(reason));
    if (reason === "OVERLOADED") this.#options.countRefused(reason);
    this.#options.log.info({ ...lineOf(call), status: Status[status.code], reason }, "call");
    call.sendStatus(status);
    if (reason === "DEADLINE_EXCEEDED") setTimeout(() => call.close(), FAREWELL_MS).unref();
  }

  #observe({ path, startMs }: OpenCall, code: Status): void {
    this.#options.observeCall(path, Status[code] ?? "UNKNOWN", (performance.now() - startMs) / 1000);
  }

  /** Sends what is ours as it is. What grpc-js says by itself has no details, and can hold what the client sent. */
  #fixed(status: PartialStatus, stream: OpenCall): PartialStatus {
    if (status.code === Status.OK || isOwnStatus(status)) return status;
    const reason = reasonOfGrpcJs(status.details);
    if (reason !== undefined) {
      const fixed = statusOf(new ApiTokenError(reason));
      this.#options.log.info({ ...lineOf(stream), status: Status[fixed.code], reason }, "call");
      return fixed;
    }
    if (status.code !== Status.INTERNAL && status.code !== Status.UNKNOWN) return status;
    const callId = nextCallId();
    this.#options.log.error({ call_id: callId, ...lineOf(stream) }, "grpc-js failed");
    return internalStatus(callId);
  }
}

/** What the log says of a call that no pipeline has seen. */
function lineOf({ headers, path, peer }: OpenCall) {
  return { ...traceContextOf(headers), method: path, peer };
}

const SHUTTING_DOWN = { code: Status.UNAVAILABLE, details: "the server is shutting down" };
