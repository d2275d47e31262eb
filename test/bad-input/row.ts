// A row of the catalogue of bad input: what a client does, and what it has to get.
import type { Outcome, Target } from "./grpc.js";

/**
 * Embed it in everything that a row sends: the runner looks for it in error messages and in all that the server prints.
 * (Not in an organization or user id: those are in the log.)
 */
export const CANARY = "CANARY7f3a91c4";

/** A part of an outcome. `code` is a gRPC status, `http` an answer that is not gRPC. */
export type Expected =
  | { readonly code: string; readonly reason?: string; readonly response?: unknown }
  | { readonly http: number }
  | { readonly closed: "stream" | "connection"; readonly error?: string }
  | { readonly open: true };

export interface Row {
  readonly name: string;
  readonly act: (target: Target) => Promise<Outcome>;
  /** Of several, any: for what HTTP/2 libraries and their versions may do one way or the other. */
  readonly expected: Expected | readonly Expected[];
  /** What a server that was kept busy gets until good calls work again; 0 by default. */
  readonly recoveryMs?: number;
}

export const OK = { code: "OK" };
export const MALFORMED = { code: "INVALID_ARGUMENT", reason: "MALFORMED_REQUEST" };
export const INVALID_FIELD = { code: "INVALID_ARGUMENT", reason: "INVALID_FIELD" };
export const UNIMPLEMENTED = { code: "UNIMPLEMENTED", reason: "UNIMPLEMENTED" };
export const TOO_LARGE = { code: "RESOURCE_EXHAUSTED", reason: "REQUEST_TOO_LARGE" };
export const TOO_LONG = { code: "DEADLINE_EXCEEDED", reason: "DEADLINE_EXCEEDED" };
export const CLOSED = { closed: "connection" } as const;
export const RESET = { closed: "stream" } as const;
/** The server goes on as if nothing had been sent; the row has made sure that it got it. */
export const OPEN = { open: true } as const;
