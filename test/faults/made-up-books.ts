// Made-up runs for the tests of the ledger and the invariants: what clients were told, and a store that agrees with it.
import { eventsKey, indexKey, tokenKeyPrefix } from "../../src/redis/layout.js";
import { USER } from "./load.js";
import type { Mutation, MutationKind, MutationOutcome, TokenName, Verification } from "./recorder.js";
import type { OrganizationState, StoredEvent, StoredToken } from "./store-state.js";

export const NAME: TokenName = { organizationId: "acme", name: "deploy" };
export const TAG = "0123456789abcdef";
const TTL_MS = 90 * 86_400_000;
const CREATED_MS = 1_700_000_000_000;

/** The uid of a made-up token; `letter` tells tokens apart. */
export function uidOf(letter: string): string {
  return TAG + letter.repeat(12);
}

/** A change of the token, from `at` to a millisecond later. */
export function mutation(at: number, kind: MutationKind, outcome: MutationOutcome): Mutation {
  const secret = kind === "revoke" ? "" : `s${at}`;
  return { client: 1, token: NAME, kind, secret, callMs: at, returnMs: at + 1, outcome };
}

/** The outcome of a change that was acknowledged; its secret's hash follows from the generation. */
export function acknowledged(letter: string, generation: number): MutationOutcome {
  const uid = uidOf(letter);
  return { kind: "acknowledged", uid, generation, secretHash: secretHash(letter, generation) };
}

export const OPEN: MutationOutcome = { kind: "open", hasHappened: false };

export function verification(at: number, secret: string, answer: Verification["answer"]): Verification {
  return { client: 2, token: NAME, secret, callMs: at, returnMs: at + 1, answer };
}

export function event(kind: string, letter: string, generation: number): StoredEvent {
  return { ...NAME, kind, uid: uidOf(letter), generation };
}

export function token(letter: string, generation: number): StoredToken {
  return {
    ...NAME,
    uid: uidOf(letter),
    generation,
    secretHash: secretHash(letter, generation),
    createTimeMs: CREATED_MS,
    ttlMs: TTL_MS,
    keyExpireTimeMs: CREATED_MS + TTL_MS,
  };
}

/** An organization with these tokens and events, and all that belongs to them. */
export function organization(tokens: readonly StoredToken[], events: readonly StoredEvent[]): OrganizationState {
  const ids = tokens.map(({ uid }) => uid.slice(TAG.length));
  return {
    organizationId: NAME.organizationId,
    tag: TAG,
    masters: ["redis-1"],
    keys: [indexKey(TAG), eventsKey(TAG), ...ids.map((id) => tokenKeyPrefix(TAG) + id)],
    lasting: [],
    tokens,
    indexMembers: tokens.map(({ name, uid }) => `${USER}\0${name}\0${uid.slice(TAG.length)}`),
    events,
  };
}

function secretHash(letter: string, generation: number): string {
  return `hash of ${letter}${generation}`;
}
