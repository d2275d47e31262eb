// How tokens lie in Redis. Every key of an organization is in one slot, and no key holds user text.
//
//   apitoken:{<tag>}:index          ZSET   score 0, members `user \0 name \0 id`; lookup by name, list, count
//   apitoken:{<tag>}:t:<id>         HASH   one token; its TTL is the token's expiry
//       o   organization id             s    SHA-256 of the current secret, base64url
//       u   user id                     p    SHA-256 of the secret before the latest renewal
//       n   name                        pe   until when that one works, ms (only with a grace period)
//       r   role (absent = empty)       a    last verified, ms (absent = not since the secret was made)
//       c   create time, ms             q    hash of the latest request_id, for life
//       t   ttl, ms                     g    generation
//   apitoken:{<tag>}:receipt:<id>   HASH   an applied mutation, so that it is applied once and can be answered again:
//       op, reply                       for seconds; with a request_id also f, id, g, sealed, for 10 minutes
//   apitoken:{<tag>}:events         STREAM what happened to tokens, for EVENT_RETENTION; the ids are the times
//       k   kind                        i, g, o, u, n   id, generation, organization, user, name of the token
//       a   actor                       (all but the id as in its hash)
//   apitoken:{<tag>}:pulse          STRING empty; written now and then to see that replicas follow this master
//   apitoken:{<tag>}:superseded:<id> STRING empty; there while no further event of that kind is due
//   apitoken:{census}:turn          STRING empty; there while nobody else is to count the tokens
//   apitoken:{census}:result        HASH   what was counted last: time, tokens, and how many expire within 1d, 7d, 30d
//
// <tag> is a digest of the organization id; tag + id = uid. What there are millions of has short names: `t` for token saves
// 8 bytes for each. Values have at most 64 bytes where they can: beyond that a hash takes three times the memory.
import { EVENT_KINDS, type TokenEvent } from "../domain/token-event.js";
import type { StoredToken } from "../domain/token-store.js";
import { organizationTag, type UidParts } from "../domain/token-string.js";

/** The token fields in reading order; scripts answer a token as its id and these values. */
export const FIELDS = ["o", "u", "n", "r", "c", "t", "g", "s", "p", "pe", "a", "q"] as const;

/** The values of FIELDS; Redis answers an absent one with null. */
export type FieldValues = readonly (string | null)[];

export const CENSUS_KEYS = { turn: "apitoken:{census}:turn", result: "apitoken:{census}:result" } as const;

/** What the keys of all tokens look like to SCAN. */
export const TOKEN_KEYS_PATTERN = "apitoken:{*}:t:*";

export function indexKey(tag: string): string {
  return `apitoken:{${tag}}:index`;
}

/** What every token key of the organization starts with. */
export function tokenKeyPrefix(tag: string): string {
  return `apitoken:{${tag}}:t:`;
}

export function tokenKey({ tag, id }: UidParts): string {
  return tokenKeyPrefix(tag) + id;
}

/** `id` is a request hash, or an operation id where there is no request_id. */
export function receiptKey(tag: string, id: string): string {
  return `apitoken:{${tag}}:receipt:${id}`;
}

export function eventsKey(tag: string): string {
  return `apitoken:{${tag}}:events`;
}

/** Says that a superseded secret of the token was noted a short while ago. */
export function supersededKey({ tag, id }: UidParts): string {
  return `apitoken:{${tag}}:superseded:${id}`;
}

/** The pulse in the slot of a key. */
export function pulseKeyBeside(key: string): string {
  return `${key.slice(0, key.indexOf("}") + 1)}:pulse`;
}

/** What a script that finds tokens by name gets as KEYS[1] and KEYS[2]. */
export function indexAndTokens(organizationId: string): { tag: string; keys: [string, string] } {
  const tag = organizationTag(organizationId);
  return { tag, keys: [indexKey(tag), tokenKeyPrefix(tag)] };
}

/** Reads a token from its field values; undefined when there is none. `nowMs` is Redis's clock. */
export function decodeToken(uid: string, values: FieldValues, nowMs: number): StoredToken | undefined {
  const [organizationId, userId, name, role, created, ttl, generation, secretHash, previous, previousExpire, used, q] =
    values;
  if (!organizationId || !userId || !name || !created || !ttl || !generation || !secretHash) return undefined;
  const previousSecretExpireTimeMs = milliseconds(previousExpire);
  const previousWorks = previousSecretExpireTimeMs !== undefined && nowMs <= previousSecretExpireTimeMs;
  return {
    uid,
    organizationId,
    userId,
    name,
    role: role ?? "",
    createTimeMs: Number(created),
    ttlMs: Number(ttl),
    generation: Number(generation),
    lastUsedTimeMs: milliseconds(used),
    previousSecretExpireTimeMs: previousWorks ? previousSecretExpireTimeMs : undefined,
    secretHash,
    previousSecretHash: previous ?? undefined,
    requestHash: q ?? undefined,
  };
}

/** An event in an answer: the stream's id, then kind, organization, user, name, token id, generation, actor. */
export type EventValues = readonly string[];

/** Reads an event of the organization with that tag. */
export function decodeEvent(tag: string, values: EventValues): TokenEvent {
  const [streamId = "", word, organizationId = "", userId = "", name = "", id = "", generation, actor = ""] = values;
  const kind = EVENT_KINDS.find((known) => known === word);
  if (kind === undefined) throw new Error("Redis answered with an event of an unknown kind");
  const timeMs = Number.parseInt(streamId, 10);
  return { kind, timeMs, organizationId, userId, name, uid: tag + id, generation: Number(generation), actor };
}

/** The value of `pe`: present means that Redis's clock is needed to read the token. */
export function hasPreviousExpiry(values: FieldValues): boolean {
  return values[FIELDS.indexOf("pe")] != null;
}

function milliseconds(value: string | null | undefined): number | undefined {
  return value == null ? undefined : Number(value);
}
