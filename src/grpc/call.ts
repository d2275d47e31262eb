// The one pipeline that every call of our services goes through: identity, the handler, the error table, one log line.
// Handlers throw; nothing of a request or an unknown error reaches the client or the log.
import { randomBytes } from "node:crypto";
import {
  type handleUnaryCall,
  Metadata,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  type ServerUnaryCall,
  status as Status,
  type StatusObject,
  type sendUnaryData,
} from "@grpc/grpc-js";
import type { Logger } from "pino";
import type { Principal } from "../domain/access.js";
import { ApiTokenError } from "../domain/errors.js";
import { internalStatus, statusOf } from "./status.js";

/** What the pipeline needs of the rest of the program. */
export interface Pipeline {
  /** The caller of a call, from its metadata. Throws ApiTokenError UNAUTHENTICATED. */
  readonly identify: (metadata: Metadata) => Principal;
  readonly log: Logger;
}

/** Turns a function of request and caller into a grpc-js handler. */
export function unary<Request, Response>(
  { identify, log }: Pipeline,
  handle: (request: Request, caller: Principal) => Promise<Response>,
): handleUnaryCall<Request, Response> {
  async function serve(call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>): Promise<void> {
    const startMs = performance.now();
    const callId = nextCallId();
    let caller: Principal | undefined;
    let failure: unknown;
    let status = OK;
    try {
      caller = identify(call.metadata);
      callback(null, await handle(call.request, caller));
    } catch (error) {
      failure = error;
      status = error instanceof ApiTokenError ? statusOf(error) : internalStatus(callId);
      callback(status);
    }
    const line = {
      call_id: callId,
      method: call.getPath(),
      // An answer that came too late: the client had gone, or its deadline or ours had passed.
      status: call.cancelled ? "CANCELLED" : Status[status.code],
      organization_id: caller?.organizationId,
      user_id: caller?.userId,
      duration_ms: Math.round((performance.now() - startMs) * 1000) / 1000,
    };
    if (failure === undefined) log.info(line, "call");
    else if (failure instanceof ApiTokenError)
      log.info({ ...line, reason: failure.reason, cause: failure.cause }, "call");
    else log.error({ ...line, err: failure }, "call failed");
  }
  return (call, callback) => {
    // grpc-js would let a rejection end the process.
    serve(call, callback).catch((error: unknown) => log.error({ err: error }, "the call pipeline failed"));
  };
}

/** Sees to it that no call lasts for ever. grpc-js itself waits without limit, also for a message that never comes. */
export class CallLimits {
  readonly #maxUnaryMs: number;
  readonly #openStreams = new Set<ServerInterceptingCallInterface>();
  #openUnary = 0;

  constructor(options: { maxUnaryMs: number }) {
    this.#maxUnaryMs = options.maxUnaryMs;
  }

  /** Unary calls that have not been answered. */
  get openUnary(): number {
    return this.#openUnary;
  }

  /** Ends a unary call that is not answered in time. Streams live until their client or `endStreams` ends them. */
  readonly interceptor: ServerInterceptor = (method, call) =>
    method.requestStream || method.responseStream ? this.#trackStream(call) : this.#capUnary(call);

  /** Ends all open streams, which would otherwise hold a draining server up. */
  endStreams(): void {
    for (const call of this.#openStreams) call.sendStatus(SHUTTING_DOWN);
  }

  #capUnary(call: ServerInterceptingCallInterface): ServerInterceptingCall {
    const timer = setTimeout(() => call.sendStatus(TOO_LONG), this.#maxUnaryMs);
    this.#openUnary += 1;
    return onEnd(call, () => {
      clearTimeout(timer);
      this.#openUnary -= 1;
    });
  }

  #trackStream(call: ServerInterceptingCallInterface): ServerInterceptingCall {
    this.#openStreams.add(call);
    return onEnd(call, () => this.#openStreams.delete(call));
  }
}

/** grpc-js tells every end as `onCancel`: an answer, a cancellation and a lost connection. */
function onEnd(call: ServerInterceptingCallInterface, listener: () => void): ServerInterceptingCall {
  return new ServerInterceptingCall(call, { start: (next) => next({ onCancel: listener }) });
}

const TOO_LONG = { code: Status.DEADLINE_EXCEEDED, details: "the call took too long" };
const SHUTTING_DOWN = { code: Status.UNAVAILABLE, details: "the server is shutting down" };

const OK: StatusObject = { code: Status.OK, details: "", metadata: new Metadata() };

// Unique over all processes for finding a call in the log; no secret.
const PROCESS_ID = randomBytes(6).toString("hex");
let calls = 0;
function nextCallId(): string {
  calls += 1;
  return `${PROCESS_ID}-${calls.toString(36)}`;
}
