// What is kept of what happened to tokens. An event is written in the step that makes it true, and outlives its token.
import type { Owner } from "./token.js";

export const EVENT_KINDS = ["created", "renewed", "revoked", "superseded_use"] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

/** One event. Never a secret or anything derived from one. */
export interface TokenEvent extends Owner {
  readonly kind: EventKind;
  /** Unix milliseconds of the store's clock. */
  readonly timeMs: number;
  readonly uid: string;
  readonly name: string;
  /** The token's generation after it. */
  readonly generation: number;
  /** Who did it, as Principal.actor; empty when nobody had proven who they are. */
  readonly actor: string;
}
