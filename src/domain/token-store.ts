// The port to where tokens live. What the service needs of a store, in the domain's words; src/redis implements it.
//
// Every method throws ApiTokenError STORE_UNAVAILABLE when the store cannot be asked; a mutation throws OUTCOME_UNKNOWN
// instead when it may have been applied. A mutation is atomic, applied at most once, and leaves exactly one event.
import type { Replay } from "./replay.js";
import type { Owner, Token } from "./token.js";
import type { TokenEvent } from "./token-event.js";

export interface TokenStore {
  create(command: CreateCommand): Promise<Created | Replayed | ReplayRefused | { outcome: "exists" | "limit" }>;
  renew(command: RenewCommand): Promise<Renewed | Replayed | ReplayRefused | Missed>;
  revoke(command: RevokeCommand): Promise<{ outcome: "revoked"; token: Token } | Missed>;
  get(owner: Owner, name: string): Promise<Token | undefined>;
  list(query: ListQuery): Promise<{ tokens: readonly Token[]; next: ListPosition | undefined }>;

  listEvents(query: EventQuery): Promise<{ events: readonly TokenEvent[]; next: EventPosition | undefined }>;

  /** The token of that uid, in one read. */
  read(uid: string): Promise<Reading | undefined>;

  /** Notes that the current secret of what was read was verified. Never waits, never fails; see LAST_USED_RESOLUTION. */
  recordUse(reading: Reading): void;

  /** Leaves an event that the secret before the latest renewal was presented; at most one a minute for each token. */
  recordSupersededUse(token: StoredToken, actor: string): void;
}

/** What verification reads. */
export interface Reading {
  readonly token: StoredToken;
  /** What the clock that ends the token said right after it was read; where that is not known, this process's own. */
  readonly timeMs: number;
}

/** A token with what tells its secrets from others. */
export interface StoredToken extends Token {
  readonly secretHash: string;
  /** The secret from before the latest renewal, kept to tell superseded from unknown. */
  readonly previousSecretHash: string | undefined;
  /** The latest request_id's hash. */
  readonly requestHash: string | undefined;
}

/** What every mutation says: whose token, and who does it (Principal.actor). */
export interface Mutation extends Owner {
  readonly name: string;
  readonly actor: string;
}

export interface CreateCommand extends Mutation {
  readonly uid: string;
  readonly role: string;
  readonly ttlMs: number;
  readonly secretHash: string;
  readonly replay: Replay | undefined;
  readonly maxTokensPerUser: number;
}

export interface RenewCommand extends Mutation {
  readonly gracePeriodMs: number;
  readonly secretHash: string;
  readonly replay: Replay | undefined;
  /** Empty = whatever its state. */
  readonly etag: string;
}

export interface RevokeCommand extends Mutation {
  readonly etag: string;
}

/** Of which organization, and of which of its users; undefined = every one. */
export interface Scope {
  readonly organizationId: string;
  readonly userId: string | undefined;
}

export interface ListQuery extends Scope {
  /** Only tokens that expire before this, where it is given; a page then ends also where 1,000 others were passed over. */
  readonly expireBeforeMs?: number | undefined;
  readonly after: ListPosition | undefined;
  readonly limit: number;
}

/** Events of one name, of one uid, or of all. */
export interface EventQuery extends Scope {
  readonly name: string | undefined;
  readonly uid: string | undefined;
  readonly before: EventPosition | undefined;
  readonly limit: number;
}

/** The last token of a page; the next page starts right after it. */
export type ListPosition = readonly [userId: string, name: string];

/** The last event looked at, as `<milliseconds>-<sequence>`; the next page starts with the one before it. */
export type EventPosition = readonly [id: string];

export type Created = { outcome: "created"; token: Token };
export type Renewed = { outcome: "renewed"; token: Token };

/** The same request was answered before and its secret is still current and unused. */
export type Replayed = { outcome: "replayed"; token: Token; sealedSecret: string };

/** `reused`: the request_id came with other fields; `expired`: its answer can no longer be given. */
export type ReplayRefused = { outcome: "reused" | "expired" };

/** `missing`: no such live token; `conflict`: its etag differs. */
export type Missed = { outcome: "missing" | "conflict" };
