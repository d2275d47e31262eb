// A failed call as the client of the npm package tells it. Must not know how calls are made.
import { type ServiceError, status } from "@grpc/grpc-js";
import { BadRequest, ErrorInfo, RetryInfo } from "../../gen/google/rpc/error_details.js";
import { Status } from "../../gen/google/rpc/status.js";

/** A call that failed, with its error details unpacked. Act on `reason`, show `message`. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  /** The gRPC status, such as NOT_FOUND. */
  readonly code: string;
  /** What docs/errors.md lists; undefined when the network or gRPC itself failed, not the server. */
  readonly reason: string | undefined;
  readonly sqlState: string | undefined;
  /** The fields that break their limits. */
  readonly violations: readonly { readonly field: string; readonly description: string }[];
  /** How long the server asks to wait before the next try. */
  readonly retryAfterMs: number | undefined;

  constructor(error: ServiceError) {
    super(error.details, { cause: error });
    const [bytes] = error.metadata?.get("grpc-status-details-bin") ?? [];
    const details = bytes instanceof Buffer ? Status.decode(bytes).details : [];
    const find = (name: string) => details.find(({ typeUrl }) => typeUrl.endsWith(`/google.rpc.${name}`))?.value;
    const [info, badRequest, retry] = ["ErrorInfo", "BadRequest", "RetryInfo"].map(find);
    const errorInfo = info && ErrorInfo.decode(info);
    const delay = retry && RetryInfo.decode(retry).retryDelay;
    this.code = status[error.code];
    this.reason = errorInfo?.reason;
    this.sqlState = errorInfo?.metadata["sql_state"];
    const violations = badRequest ? BadRequest.decode(badRequest).fieldViolations : [];
    this.violations = violations.map(({ field, description }) => ({ field, description }));
    this.retryAfterMs = delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6;
  }
}
