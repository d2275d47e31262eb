// What one call's answer says about whether the change happened. The whole proof rests on this table: it must never take
// "nobody knows" for "it did not happen".
import { RpcError } from "../harness.js";

export type Answer<Response> =
  | { readonly kind: "done"; readonly response: Response }
  /** It met a state in which it changes nothing. */
  | { readonly kind: "refused"; readonly as: "exists" | "missing" }
  /** The service says that it did not happen, and why not for the moment. */
  | { readonly kind: "unapplied" }
  /** It may have happened, now or in a moment. */
  | { readonly kind: "unanswered" }
  /** An earlier attempt of the same request happened; its answer can no longer be had. */
  | { readonly kind: "happened" }
  /** What no fault excuses. It may have happened. */
  | { readonly kind: "unexpected"; readonly text: string };

/** Awaits a call and reads its answer. */
export async function attempt<Response>(call: Promise<Response>): Promise<Answer<Response>> {
  try {
    return { kind: "done", response: await call };
  } catch (error) {
    if (error instanceof RpcError) return answerOf(error);
    throw error;
  }
}

/** Reads a refusal. */
export function answerOf({ code, reason, message }: Pick<RpcError, "code" | "reason" | "message">): Answer<never> {
  switch (reason) {
    case "TOKEN_ALREADY_EXISTS":
      return { kind: "refused", as: "exists" };
    case "TOKEN_NOT_FOUND":
      return { kind: "refused", as: "missing" };
    case "STORE_UNAVAILABLE":
    case "RATE_LIMITED":
    case "OVERLOADED":
      return { kind: "unapplied" };
    case "OUTCOME_UNKNOWN":
    case "DEADLINE_EXCEEDED":
      return { kind: "unanswered" };
    case "REPLAY_EXPIRED":
      return { kind: "happened" };
    case undefined:
      // Not from the service: the connection broke, or the client gave up. What grpc-js cannot place it calls INTERNAL.
      if (/^(?:UNAVAILABLE|CANCELLED|DEADLINE_EXCEEDED|INTERNAL|UNKNOWN)$/.test(code)) return { kind: "unanswered" };
      return { kind: "unexpected", text: `${code}: ${message}` };
    default:
      return { kind: "unexpected", text: `${code} ${reason}: ${message}` };
  }
}
