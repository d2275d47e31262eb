// The one pipeline that every call of our RPCs goes through: admission, identity, the handler, the error table, one log
// line. Handlers throw; nothing of a request or an unknown error reaches the client or the log.
import { randomBytes } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http2";
import { type handleUnaryCall, Metadata, status as Status, type StatusObject, type sendUnaryData } from "@grpc/grpc-js";
import type { Logger } from "pino";
import type { Principal } from "../domain/access.js";
import { ApiTokenError } from "../domain/errors.js";
import type { Admission, RpcName, Visit } from "./admission.js";
import type { Connection } from "./connection.js";
import { internalStatus, statusOf } from "./status.js";
import { traceContextOf } from "./trace-context.js";
import type { UnaryCall } from "./unary-call.js";

/** What the pipeline needs of the rest of the program. */
export interface Pipeline {
  /** The caller of a call. Fails with ApiTokenError, UNAUTHENTICATED for every fault of a credential. */
  readonly identify: (headers: IncomingHttpHeaders, connection: Connection) => Principal | Promise<Principal>;
  readonly admission: Admission;
  /** Told of each call that is refused for lack of room. */
  readonly countRefused: (reason: "RATE_LIMITED" | "OVERLOADED") => void;
  readonly log: Logger;
}

/** How admission looks at an RPC, where it is not like the others. */
export interface Weighing<Request, Response> {
  /** How many calls a request counts for. */
  readonly weigh?: (request: Request) => number;
  /** How much of an answer is of the kind of which nobody may have much. */
  readonly countFailures?: (response: Response) => number;
  /** Called so often that a line of the log for each answer would cost as much as Redis does: only at `debug`. */
  readonly isRoutine?: boolean;
}

/** Turns a function of request and caller into a handler, which gets calls of unary-call.ts. */
export function unary<Request, Response>(
  { identify, admission, countRefused, log }: Pipeline,
  rpc: RpcName,
  handle: (request: Request, caller: Principal) => Promise<Response>,
  { weigh = () => 1, countFailures = () => 0, isRoutine = false }: Weighing<Request, Response> = {},
): handleUnaryCall<Request, Response> {
  async function serve(call: UnaryCall, callback: sendUnaryData<Response>): Promise<void> {
    const callId = nextCallId();
    const { headers, connection } = call;
    const request = call.request as Request;
    const { peer } = connection;
    const { authorization } = headers;
    const credential = authorization && connection.digestOf(authorization);
    let visit: Visit | undefined;
    let caller: Principal | undefined;
    let failure: unknown;
    let status = OK;
    try {
      visit = admission.enter({ rpc, weight: weigh(request), peer, credential });
      const identified = identify(headers, connection);
      caller = identified instanceof Promise ? await identified : identified;
      visit.admit(caller);
      const response = await handle(request, caller);
      const failures = countFailures(response);
      if (failures > 0) visit.fail(failures);
      callback(null, response);
    } catch (error) {
      failure = error;
      if (isRefusal(error, "UNAUTHENTICATED")) visit?.fail();
      if (isRefusal(error, "RATE_LIMITED") || isRefusal(error, "OVERLOADED")) {
        countRefused(error.reason);
        await admission.refusals.turn();
      }
      status = error instanceof ApiTokenError ? statusOf(error) : internalStatus(callId);
      callback(status);
    } finally {
      visit?.leave();
    }
    const refusal = failure instanceof ApiTokenError ? failure : undefined;
    const answerLevel = isRoutine ? "debug" : "info";
    const failureLevel = refusal === undefined ? "error" : "info";
    const level = failure === undefined ? answerLevel : failureLevel;
    if (!log.isLevelEnabled(level)) return;
    const line = {
      call_id: callId,
      ...traceContextOf(headers),
      method: call.path,
      // An answer that came too late: the client had gone, or its deadline or ours had passed.
      status: call.cancelled ? "CANCELLED" : Status[status.code],
      peer,
      caller: caller?.actor,
      organization_id: caller?.organizationId,
      user_id: caller?.userId,
      duration_ms: Math.round((performance.now() - call.startMs) * 1000) / 1000,
    };
    if (failure === undefined) log[level](line, "call");
    else if (refusal) log[level]({ ...line, reason: refusal.reason, cause: refusal.cause }, "call");
    else log[level]({ ...line, error: stackOf(failure) }, "call failed");
  }
  return (call, callback) => {
    // A rejection would end the process.
    serve(call as unknown as UnaryCall, callback).catch((error: unknown) =>
      log.error({ error: stackOf(error) }, "the call pipeline failed"),
    );
  };
}

/** Message and stack only: libraries hang whole requests on their errors. */
function stackOf(error: unknown): string {
  return (error instanceof Error ? error.stack : undefined) ?? "not an Error";
}

function isRefusal<R extends ApiTokenError["reason"]>(
  error: unknown,
  reason: R,
): error is ApiTokenError & { readonly reason: R } {
  return error instanceof ApiTokenError && error.reason === reason;
}

const OK: StatusObject = { code: Status.OK, details: "", metadata: new Metadata() };

// Unique over all processes for finding a call in the log; no secret.
const PROCESS_ID = randomBytes(6).toString("hex");
let calls = 0;
export function nextCallId(): string {
  calls += 1;
  return `${PROCESS_ID}-${calls.toString(36)}`;
}
