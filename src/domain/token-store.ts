// The port to where tokens live. What the service needs of a store, in the domain's words; src/redis implements it.
//
// Every method throws ApiTokenError STORE_UNAVAILABLE when the store cannot be asked; a mutation throws OUTCOME_UNKNOWN
// instead when it may have been applied. A mutation is atomic and applied at most once.
import type { ListPosition } from "./page-token.js";
import type { Replay } from "./replay.js";
import type { Owner, Token } from "./token.js";

export interface TokenStore {
  create(command: CreateCommand): Promise<Created | Replayed | ReplayRefused | { outcome: "exists" | "limit" }>;
  renew(command: RenewCommand): Promise<Renewed | Replayed | ReplayRefused | Missed>;
  revoke(command: RevokeCommand): Promise<{ outcome: "revoked"; token: Token } | Missed>;
  get(owner: Owner, name: string): Promise<Token | undefined>;
  list(query: ListQuery): Promise<{ tokens: readonly Token[]; next: ListPosition | undefined }>;

  /** The token of that uid with its secret hashes, in one read. */
  read(uid: string): Promise<StoredToken | undefined>;

  /** Notes that the current secret was verified. Never waits, never fails; see LAST_USED_RESOLUTION. */
  recordUse(token: StoredToken): void;
}

/** What verification reads. */
export interface StoredToken extends Token {
  readonly secretHash: string;
  /** The secret from before the latest renewal, kept to tell superseded from unknown. */
  readonly previousSecretHash: string | undefined;
  /** The latest request_id's hash. */
  readonly requestHash: string | undefined;
}

export interface CreateCommand extends Owner {
  readonly uid: string;
  readonly name: string;
  readonly role: string;
  readonly ttlMs: number;
  readonly secretHash: string;
  readonly replay: Replay | undefined;
  readonly maxTokensPerUser: number;
}

export interface RenewCommand extends Owner {
  readonly name: string;
  readonly gracePeriodMs: number;
  readonly secretHash: string;
  readonly replay: Replay | undefined;
  /** Empty = whatever its state. */
  readonly etag: string;
}

export interface RevokeCommand extends Owner {
  readonly name: string;
  readonly etag: string;
}

export interface ListQuery {
  readonly organizationId: string;
  /** undefined = every user. */
  readonly userId: string | undefined;
  readonly after: ListPosition | undefined;
  readonly limit: number;
}

export type Created = { outcome: "created"; token: Token };
export type Renewed = { outcome: "renewed"; token: Token };

/** The same request was answered before and its secret is still current and unused. */
export type Replayed = { outcome: "replayed"; token: Token; sealedSecret: string };

/** `reused`: the request_id came with other fields; `expired`: its answer can no longer be given. */
export type ReplayRefused = { outcome: "reused" | "expired" };

/** `missing`: no such live token; `conflict`: its etag differs. */
export type Missed = { outcome: "missing" | "conflict" };
