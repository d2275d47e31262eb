// The one table from a refusal to what goes over the wire: gRPC status, SQL state and google.rpc details.
import { Metadata, status as Status, type StatusObject } from "@grpc/grpc-js";
import type { Any } from "../../gen/google/protobuf/any.js";
import {
  BadRequest,
  ErrorInfo,
  QuotaFailure,
  RequestInfo,
  ResourceInfo,
  RetryInfo,
} from "../../gen/google/rpc/error_details.js";
import { Status as RpcStatus } from "../../gen/google/rpc/status.js";
import type { ApiTokenError, Reason, Violation } from "../domain/errors.js";
import { fromMs } from "./messages.js";

/** `domain` of every ErrorInfo. */
export const ERROR_DOMAIN = "apitoken.v1";

const DETAILS = "grpc-status-details-bin";

interface Row {
  readonly code: Status;
  readonly sqlState: string;
}

export const STATUS_OF: Readonly<Record<Reason, Row>> = {
  INVALID_FIELD: { code: Status.INVALID_ARGUMENT, sqlState: "3D008" },
  REQUEST_ID_REUSED: { code: Status.INVALID_ARGUMENT, sqlState: "3D008" },
  REPLAY_EXPIRED: { code: Status.FAILED_PRECONDITION, sqlState: "3D008" },
  UNAUTHENTICATED: { code: Status.UNAUTHENTICATED, sqlState: "42501" },
  INSUFFICIENT_PRIVILEGE: { code: Status.PERMISSION_DENIED, sqlState: "42501" },
  TOKEN_NOT_FOUND: { code: Status.NOT_FOUND, sqlState: "3D012" },
  TOKEN_ALREADY_EXISTS: { code: Status.ALREADY_EXISTS, sqlState: "42P09" },
  ETAG_MISMATCH: { code: Status.ABORTED, sqlState: "40001" },
  TOKEN_LIMIT_EXCEEDED: { code: Status.RESOURCE_EXHAUSTED, sqlState: "53000" },
  STORE_UNAVAILABLE: { code: Status.UNAVAILABLE, sqlState: "57015" },
  OUTCOME_UNKNOWN: { code: Status.UNAVAILABLE, sqlState: "57015" },
  ISSUER_UNAVAILABLE: { code: Status.UNAVAILABLE, sqlState: "57015" },
  RATE_LIMITED: { code: Status.RESOURCE_EXHAUSTED, sqlState: "53000" },
  OVERLOADED: { code: Status.RESOURCE_EXHAUSTED, sqlState: "53000" },
  MALFORMED_REQUEST: { code: Status.INVALID_ARGUMENT, sqlState: "08P01" },
  REQUEST_TOO_LARGE: { code: Status.RESOURCE_EXHAUSTED, sqlState: "54000" },
  DEADLINE_EXCEEDED: { code: Status.DEADLINE_EXCEEDED, sqlState: "57014" },
  UNIMPLEMENTED: { code: Status.UNIMPLEMENTED, sqlState: "0A000" },
};

const VIOLATION_SQL_STATE: Readonly<Record<Violation["kind"], string>> = {
  invalid: STATUS_OF.INVALID_FIELD.sqlState,
  missing: "3D021",
  "too-long": "42622",
};

/** The status of a refusal. */
export function statusOf(error: ApiTokenError): StatusObject {
  const sqlState = sqlStateOf(error);
  return buildStatus(STATUS_OF[error.reason].code, error.message, error.reason, sqlState, extraDetails(error));
}

/** True for what this table made, which carries its details. */
export function isOwnStatus({ metadata }: { readonly metadata?: Metadata | null | undefined }): boolean {
  return metadata?.get(DETAILS).length === 1;
}

/** The status of anything that is not a refusal: a fixed text and an id to find it in the log. */
export function internalStatus(callId: string): StatusObject {
  const requestInfo = pack("RequestInfo", RequestInfo, { requestId: callId });
  return buildStatus(Status.INTERNAL, `internal error; quote request ${callId}`, "INTERNAL", "XX000", [requestInfo]);
}

/** One violation has the state of its kind; several have the general one. */
function sqlStateOf({ reason, violations }: ApiTokenError): string {
  const [first, ...others] = violations;
  return first && others.length === 0 ? VIOLATION_SQL_STATE[first.kind] : STATUS_OF[reason].sqlState;
}

function extraDetails({ reason, message, violations, retryAfterMs = 1000 }: ApiTokenError): Any[] {
  switch (reason) {
    case "INVALID_FIELD":
      return [pack("BadRequest", BadRequest, { fieldViolations: violations.map(fieldViolation) })];
    case "REQUEST_ID_REUSED":
      return [pack("BadRequest", BadRequest, { fieldViolations: [{ field: "request_id", description: message }] })];
    case "TOKEN_NOT_FOUND":
    case "TOKEN_ALREADY_EXISTS":
      // Without the name: input does not come back in an error.
      return [pack("ResourceInfo", ResourceInfo, { resourceType: "apitoken.v1.ApiToken", description: message })];
    case "TOKEN_LIMIT_EXCEEDED":
      return [pack("QuotaFailure", QuotaFailure, { violations: [{ subject: "user", description: message }] })];
    case "STORE_UNAVAILABLE":
    case "OUTCOME_UNKNOWN":
    case "ISSUER_UNAVAILABLE":
    case "RATE_LIMITED":
    case "OVERLOADED":
      return [pack("RetryInfo", RetryInfo, { retryDelay: fromMs(Math.ceil(retryAfterMs)) })];
    case "REPLAY_EXPIRED":
    case "UNAUTHENTICATED":
    case "INSUFFICIENT_PRIVILEGE":
    case "ETAG_MISMATCH":
    case "MALFORMED_REQUEST":
    case "REQUEST_TOO_LARGE":
    case "DEADLINE_EXCEEDED":
    case "UNIMPLEMENTED":
      return [];
  }
}

function fieldViolation({ field, description }: Violation) {
  return { field, description };
}

function buildStatus(code: Status, details: string, reason: string, sqlState: string, extra: Any[]): StatusObject {
  const info = pack("ErrorInfo", ErrorInfo, { reason, domain: ERROR_DOMAIN, metadata: { sql_state: sqlState } });
  const rpcStatus = RpcStatus.encode({ code, message: details, details: [info, ...extra] }).finish();
  const metadata = new Metadata();
  metadata.set(DETAILS, Buffer.from(rpcStatus));
  return { code, details, metadata };
}

/** A google.rpc message as a detail of a status. */
function pack<Message, Partial>(
  name: string,
  codec: { fromPartial(partial: Partial): Message; encode(message: Message): { finish(): Uint8Array } },
  partial: Partial,
): Any {
  const value = Buffer.from(codec.encode(codec.fromPartial(partial)).finish());
  return { typeUrl: `type.googleapis.com/google.rpc.${name}`, value };
}
