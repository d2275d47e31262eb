// Every refusal the service can answer, as a closed list of reasons with one fixed public text each.
// It must not know gRPC or SQL: src/grpc/status.ts maps each reason to its status and sql_state.

/** Why a call is refused. The texts are public and never contain input. */
export const REASONS = {
  INVALID_FIELD: "a field breaks its limit",
  REQUEST_ID_REUSED: "request_id was used before with other fields",
  REPLAY_EXPIRED: "request_id was used before and its answer can no longer be replayed",
  UNAUTHENTICATED: "a valid credential is required",
  INSUFFICIENT_PRIVILEGE: "the caller may not do this",
  TOKEN_NOT_FOUND: "the token does not exist or has expired",
  TOKEN_ALREADY_EXISTS: "a token of this name already exists",
  ETAG_MISMATCH: "the token has changed since the etag was read",
  TOKEN_LIMIT_EXCEEDED: "the user has as many tokens as are allowed",
  STORE_UNAVAILABLE: "the token store is unavailable; nothing was changed",
  OUTCOME_UNKNOWN: "the token store did not confirm the change; it may or may not have happened",
  ISSUER_UNAVAILABLE: "the credential cannot be checked now: the keys of its issuer are not known",
  RATE_LIMITED: "too many calls in a short time",
  OVERLOADED: "too many calls at once",
  MALFORMED_REQUEST: "the request cannot be read",
  REQUEST_TOO_LARGE: "the message or the metadata is too large",
  DEADLINE_EXCEEDED: "the call took too long",
  UNIMPLEMENTED: "the method or the message encoding is not known",
} as const;

/** The name of a refusal; `reason` of the ErrorInfo that clients see. */
export type Reason = keyof typeof REASONS;

/** One broken field. `missing` and `too-long` have SQL states of their own; everything else is `invalid`. */
export interface Violation {
  readonly field: string;
  readonly description: string;
  readonly kind: "invalid" | "missing" | "too-long";
}

/** A refusal. The message is public; the cause is for the log only and must not hold a secret. */
export class ApiTokenError extends Error {
  override readonly name = "ApiTokenError";
  readonly reason: Reason;
  readonly violations: readonly Violation[];
  /** How long to wait before the call is worth repeating, where that is known. */
  readonly retryAfterMs: number | undefined;

  constructor(
    reason: Reason,
    options: { violations?: readonly Violation[]; retryAfterMs?: number; cause?: unknown } = {},
  ) {
    const violations = options.violations ?? [];
    const listed = violations.map(({ field, description }) => `${field} ${description}`).join("; ");
    super(listed === "" ? REASONS[reason] : listed, { cause: options.cause });
    this.reason = reason;
    this.violations = violations;
    this.retryAfterMs = options.retryAfterMs;
  }
}
