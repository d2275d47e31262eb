// What a failed call means: the server's own refusal, or no usable answer at all.
// Must not know statements, retries or how an error is shown.
import { type ServiceError, status } from "@grpc/grpc-js";
import type { Any } from "../../gen/google/protobuf/any.js";
import {
  BadRequest,
  type BadRequest_FieldViolation,
  ErrorInfo,
  RetryInfo,
} from "../../gen/google/rpc/error_details.js";
import { Status } from "../../gen/google/rpc/status.js";

/** A call that failed. `reason` and `sqlState` are unset when it was not our server that said so. */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly code: status;
  readonly reason: string | undefined;
  readonly sqlState: string | undefined;
  readonly violations: readonly BadRequest_FieldViolation[];
  /** How long the server asks to wait before the call is repeated; undefined where it says nothing of that. */
  readonly retryDelayMs: number | undefined;
  /** Whether what was asked for may have happened, by this attempt or an earlier one. */
  readonly mayHaveHappened: boolean;

  constructor(error: ServiceError, earlier: RpcError | undefined) {
    super(error.details, { cause: error });
    const details = detailsOf(error);
    const info = find(details, "google.rpc.ErrorInfo", ErrorInfo);
    const { sql_state: sqlState } = info?.metadata ?? {};
    this.code = error.code;
    this.reason = info?.reason;
    this.sqlState = sqlState;
    this.violations = find(details, "google.rpc.BadRequest", BadRequest)?.fieldViolations ?? [];
    const delay = find(details, "google.rpc.RetryInfo", RetryInfo)?.retryDelay;
    this.retryDelayMs = delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6;
    this.mayHaveHappened = (earlier?.mayHaveHappened ?? false) || this.#hasUnknownOutcome;
  }

  /** Whether the same call may be sent again: the server was away or busy, or no answer came. */
  get isTransient(): boolean {
    const isAway = this.code === status.UNAVAILABLE || this.code === status.DEADLINE_EXCEEDED;
    return isAway || this.retryDelayMs !== undefined;
  }

  /** Whether the server itself did not answer: nothing listens there, the connection broke or stalled. */
  get isUnreachable(): boolean {
    return this.isTransient && this.reason === undefined && this.retryDelayMs === undefined;
  }

  /** Whether the call got as far as a server. */
  get wasSent(): boolean {
    // grpc-js tells only by its text that it never had a connection.
    return !(this.isUnreachable && /^(No connection established|Name resolution failed)/.test(this.message));
  }

  get #hasUnknownOutcome(): boolean {
    if (this.isUnreachable) return this.wasSent;
    return this.reason === "OUTCOME_UNKNOWN" || this.code === status.DEADLINE_EXCEEDED;
  }
}

function detailsOf(error: ServiceError): readonly Any[] {
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  if (!Buffer.isBuffer(bytes)) return [];
  return decode(bytes, Status)?.details ?? [];
}

function find<Message>(details: readonly Any[], type: string, codec: Codec<Message>): Message | undefined {
  const detail = details.find(({ typeUrl }) => typeUrl === `type.googleapis.com/${type}`);
  return detail === undefined ? undefined : decode(detail.value, codec);
}

interface Codec<Message> {
  decode(bytes: Uint8Array): Message;
}

/** Details only add to an error; when they are damaged, the error itself must still be told. */
function decode<Message>(bytes: Uint8Array, codec: Codec<Message>): Message | undefined {
  try {
    return codec.decode(bytes);
  } catch {
    return undefined;
  }
}
