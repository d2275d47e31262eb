// What a token is: its fields, what follows from them, and the limits of the contract.

import { splitUid } from "./token-string.js";

export const DEFAULT_TTL_MS = 90 * 86_400_000;
export const MIN_TTL_MS = 60_000;
export const MAX_GRACE_PERIOD_MS = 7 * 86_400_000;
export const MAX_NAME_LENGTH = 128;
export const DEFAULT_PAGE_SIZE = 50;
export const MAX_PAGE_SIZE = 1000;

/** `user_id` of a list request that asks for every user of the organization. */
export const ALL_USERS = "-";

/** Whose token: names are unique within one owner. */
export interface Owner {
  readonly organizationId: string;
  readonly userId: string;
}

/** A live token as its owner sees it. Times are Unix milliseconds of the store's clock. */
export interface Token extends Owner {
  readonly uid: string;
  readonly name: string;
  readonly role: string;
  readonly createTimeMs: number;
  readonly ttlMs: number;
  readonly generation: number;
  readonly lastUsedTimeMs: number | undefined;
  /** Set only while the secret from before the latest renewal still works. */
  readonly previousSecretExpireTimeMs: number | undefined;
}

/** The instant until which the token works; the store's key expires with it. */
export function expireTimeMs(token: Token): number {
  return token.createTimeMs + token.ttlMs;
}

/** Changes with every renewal and with nothing else. The store's scripts build the same text. */
export function etagOf(token: Pick<Token, "uid" | "generation">): string {
  return `${splitUid(token.uid).id}.${token.generation}`;
}
