// What stands around every call of the server, handlers or not: no call lasts for ever, no address has too many open, and
// what grpc-js says by itself goes out as a fixed text of ours.
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import {
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  type ServerListener,
  status as Status,
} from "@grpc/grpc-js";
import type { Logger } from "pino";
import { ApiTokenError, type Reason } from "../domain/errors.js";
import { nextCallId } from "./call.js";
import {
  closeStream,
  type PartialStatus,
  pathOf,
  peerOf,
  reasonOfGrpcJs,
  refusalOf,
  sendOwnStatus,
  timeLimitMs,
  traceOf,
} from "./grpc-js.js";
import { internalStatus, isOwnStatus, statusOf } from "./status.js";
import { UnaryCall, type UnaryMethod } from "./unary-call.js";

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

/** A call of grpc-js, with when it came; undefined once its end was observed. */
type GuardedCall = ServerInterceptingCallInterface & { startMs?: number | undefined };

/** Any call, grpc-js's or ours. */
type OpenCall = Pick<ServerInterceptingCallInterface, "getPeer" | "sendStatus"> & { startMs?: number | undefined };

export class CallGuard {
  readonly #options: CallGuardOptions;
  readonly #openStreams = new Set<OpenCall>();
  readonly #openOf = new Map<string, number>();
  #openUnary = 0;
  readonly #sendStatus: (this: GuardedCall, status: PartialStatus) => void;

  constructor(options: CallGuardOptions) {
    this.#options = options;
    const fix = (status: PartialStatus, call: GuardedCall) => this.#fixed(status, call);
    const observe = (call: GuardedCall, code: Status) => this.#observe(call, code);
    this.#sendStatus = function (status) {
      const fixed = fix(status, this);
      observe(this, fixed.code ?? Status.UNKNOWN);
      sendOwnStatus(this, fixed);
    };
  }

  /** Unary calls that have not been answered. */
  get openUnary(): number {
    return this.#openUnary;
  }

  readonly interceptor: ServerInterceptor = ({ path, requestStream, responseStream }, call) => {
    const guarded: GuardedCall = call;
    guarded.startMs = performance.now();
    // On the call itself, for grpc-js sends its own statuses past all interceptors. One function for all calls: a
    // function of its own on each was seen to cost a quarter of a call.
    guarded.sendStatus = this.#sendStatus;
    const isStream = requestStream || responseStream;
    const peer = call.getConnectionInfo().remoteAddress ?? "unknown";
    let timer: NodeJS.Timeout | undefined;
    const listener: ServerListener = {
      // Not called for a stream that was reset before: nobody would tell its end.
      onReceiveMetadata: (metadata, next) => {
        timer = this.#endIn(this.#options.callTimeoutMs, call, path);
        const refusal = this.#open(call, isStream, peer) ?? refusalOf(path);
        if (refusal === undefined) next(metadata);
        else this.#refuse(call, path, refusal);
      },
      // grpc-js tells every end so: an answer, a cancellation and a lost connection.
      onCancel: () => {
        clearTimeout(timer);
        this.#observe(guarded, Status.CANCELLED);
        this.#close(call, isStream, peer);
      },
    };
    if (isStream) {
      let hasBegun = false;
      listener.onReceiveMessage = (message, next) => {
        if (!hasBegun) {
          hasBegun = true;
          clearTimeout(timer);
          timer = this.#endIn(MAX_STREAM_MS, call, path);
        }
        next(message);
      };
    }
    return new ServerInterceptingCall(call, { start: (next) => next(listener) });
  };

  /** Serves a unary call that does not go through grpc-js. */
  readonly serveUnary = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, method: UnaryMethod): void => {
    const { callTimeoutMs, maxMessageBytes } = this.#options;
    const { path } = method;
    const peer = stream.session?.socket.remoteAddress ?? "unknown";
    const call = new UnaryCall(stream, headers, method);
    const limitMs = timeLimitMs(headers) ?? callTimeoutMs;
    const timer = this.#endIn(Math.min(limitMs || 0, callTimeoutMs), call, path);
    const refusal = this.#open(call, false, peer) ?? (Number.isNaN(limitMs) ? "MALFORMED_REQUEST" : undefined);
    call.start(
      {
        onBadRequest: (reason) => this.#refuse(call, path, reason),
        onStatus: (code) => this.#observe(call, code),
        onEnd: () => {
          clearTimeout(timer);
          this.#observe(call, Status.CANCELLED);
          this.#close(call, false, peer);
        },
      },
      maxMessageBytes,
    );
    if (refusal !== undefined) this.#refuse(call, path, refusal);
  };

  /** Ends all open streams, which would otherwise hold a draining server up. */
  endStreams(): void {
    for (const call of this.#openStreams) call.sendStatus(SHUTTING_DOWN);
  }

  /** Counts the call in; the reason to refuse it if there are too many. */
  #open(call: OpenCall, isStream: boolean, peer: string): Reason | undefined {
    const ofPeer = (this.#openOf.get(peer) ?? 0) + 1;
    this.#openOf.set(peer, ofPeer);
    if (isStream) this.#openStreams.add(call);
    else this.#openUnary += 1;
    const { maxOpenCalls } = this.#options;
    // Streams of one address leave room for those of others.
    const isStreamsFull = isStream && (this.#openStreams.size > maxOpenCalls || ofPeer > maxOpenCalls / 4);
    return isStreamsFull || ofPeer > maxOpenCalls ? "OVERLOADED" : undefined;
  }

  #close(call: OpenCall, isStream: boolean, peer: string): void {
    const ofPeer = (this.#openOf.get(peer) ?? 0) - 1;
    if (ofPeer > 0) this.#openOf.set(peer, ofPeer);
    else this.#openOf.delete(peer);
    if (isStream) this.#openStreams.delete(call);
    else this.#openUnary -= 1;
  }

  #endIn(ms: number, call: OpenCall, method: string): NodeJS.Timeout {
    return setTimeout(() => {
      this.#refuse(call, method, "DEADLINE_EXCEEDED");
      setTimeout(() => closeStream(call), FAREWELL_MS).unref();
    }, ms);
  }

  /** Refuses what no handler has seen, or has not answered in time. */
  #refuse(call: OpenCall, method: string, reason: Reason): void {
    const status = statusOf(new ApiTokenError(reason));
    if (reason === "OVERLOADED") this.#options.countRefused(reason);
    const line = { ...traceOf(call), method, status: Status[status.code], reason, peer: peerOf(call) };
    this.#options.log.info(line, "call");
    call.sendStatus(status);
  }

  #observe(call: OpenCall, code: Status): void {
    if (call.startMs === undefined) return;
    this.#options.observeCall(pathOf(call), Status[code] ?? "UNKNOWN", (performance.now() - call.startMs) / 1000);
    call.startMs = undefined;
  }

  /** Sends what is ours as it is. What grpc-js says by itself has no details, and can hold what the client sent. */
  #fixed(status: PartialStatus, call: ServerInterceptingCallInterface): PartialStatus {
    if (status.code === Status.OK || isOwnStatus(status)) return status;
    const reason = reasonOfGrpcJs(status.details);
    const line = { ...traceOf(call), method: pathOf(call), peer: peerOf(call) };
    if (reason !== undefined) {
      const fixed = statusOf(new ApiTokenError(reason));
      this.#options.log.info({ ...line, status: Status[fixed.code], reason }, "call");
      return fixed;
    }
    if (status.code !== Status.INTERNAL && status.code !== Status.UNKNOWN) return status;
    const callId = nextCallId();
    this.#options.log.error({ call_id: callId, ...line }, "grpc-js failed");
    return internalStatus(callId);
  }
}

const SHUTTING_DOWN = { code: Status.UNAVAILABLE, details: "the server is shutting down" };
