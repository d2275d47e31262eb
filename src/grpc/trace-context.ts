// The caller's place in a trace, as W3C Trace Context has it, under the names that OpenTelemetry gives it in logs.
import type { IncomingHttpHeaders } from "node:http2";

/** Lower-case hexadecimal digits. */
export interface TraceContext {
  readonly trace_id: string;
  readonly span_id: string;
  readonly trace_flags: string;
}

// Version 00 ends after the flags; a later one may go on after a dash. A comma is between two of them. ff is no version, and ids of zeros are none.
const TRACEPARENT =
  /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:$|(?<!^00.{53})-[^,]*$)/;

/** That of a call; undefined where `traceparent` is missing, doubled or breaks the format: then it is as if it were not there. */
export function traceContextOf({ traceparent }: IncomingHttpHeaders): TraceContext | undefined {
  if (typeof traceparent !== "string") return undefined;
  const [, , traceId, spanId, flags] = TRACEPARENT.exec(traceparent) ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined;
  return { trace_id: traceId, span_id: spanId, trace_flags: flags };
}
