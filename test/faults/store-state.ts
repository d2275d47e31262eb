// All that Redis holds of some organizations, read from every master past the service. src/redis/layout.ts draws the keys.
import { organizationTag } from "../../src/domain/token-string.js";
import { eventsKey, indexKey, tokenKeyPrefix } from "../../src/redis/layout.js";

/** A Redis that can be asked. */
export interface Askable {
  readonly name: string;
  command(...args: readonly string[]): Promise<unknown>;
}

export interface StoredToken {
  readonly uid: string;
  readonly organizationId: string;
  readonly name: string;
  readonly generation: number;
  readonly secretHash: string;
  readonly createTimeMs: number;
  readonly ttlMs: number;
  /** When Redis drops the key; negative = never. */
  readonly keyExpireTimeMs: number;
}

export interface StoredEvent {
  readonly kind: string;
  readonly uid: string;
  readonly generation: number;
  readonly organizationId: string;
  readonly name: string;
}

/** What one organization has. */
export interface OrganizationState {
  readonly organizationId: string;
  readonly tag: string;
  /** Masters that hold keys of it. */
  readonly masters: readonly string[];
  readonly keys: readonly string[];
  /** Keys that never expire. */
  readonly lasting: readonly string[];
  readonly tokens: readonly StoredToken[];
  /** `user \0 name \0 id` */
  readonly indexMembers: readonly string[];
  readonly events: readonly StoredEvent[];
}

const SCAN_COUNT = 5000;

/** Reads the organizations from the masters. */
export async function readStore(
  masters: readonly Askable[],
  organizationIds: readonly string[],
): Promise<readonly OrganizationState[]> {
  const found = await Promise.all(masters.map(async (master) => ({ master, keys: await keysOf(master) })));
  return Promise.all(
    organizationIds.map(async (organizationId) => {
      const tag = organizationTag(organizationId);
      const holders = found
        .map(({ master, keys }) => ({ master, keys: keys.filter((key) => key.startsWith(`apitoken:{${tag}}`)) }))
        .filter(({ keys }) => keys.length > 0);
      const parts = await Promise.all(holders.map(({ master, keys }) => readPart(master, tag, keys)));
      return {
        organizationId,
        tag,
        masters: holders.map(({ master }) => master.name),
        keys: holders.flatMap(({ keys }) => keys),
        lasting: parts.flatMap(({ lasting }) => lasting),
        tokens: parts.flatMap(({ tokens }) => tokens),
        indexMembers: parts.flatMap(({ indexMembers }) => indexMembers),
        events: parts.flatMap(({ events }) => events),
      };
    }),
  );
}

/** Every key of a server, each once. */
async function keysOf(master: Askable): Promise<string[]> {
  const keys = new Set<string>();
  let cursor = "0";
  do {
    const [next, page] = (await master.command("SCAN", cursor, "COUNT", String(SCAN_COUNT))) as [string, string[]];
    for (const key of page) keys.add(key);
    cursor = next;
  } while (cursor !== "0");
  return [...keys];
}

async function readPart(master: Askable, tag: string, keys: readonly string[]) {
  const tokenKeys = keys.filter((key) => key.startsWith(tokenKeyPrefix(tag)));
  const expireTimes = await Promise.all(keys.map((key) => master.command("PEXPIRETIME", key)));
  const [tokens, members, entries] = await Promise.all([
    Promise.all(tokenKeys.map((key) => readToken(master, tag, key))),
    master.command("ZRANGE", indexKey(tag), "0", "-1"),
    master.command("XRANGE", eventsKey(tag), "-", "+"),
  ]);
  return {
    lasting: keys.filter((_, at) => Number(expireTimes[at]) === -1),
    tokens,
    indexMembers: members as string[],
    events: (entries as [string, string[]][]).map(([, fields]) => readEvent(tag, fields)),
  };
}

async function readToken(master: Askable, tag: string, key: string): Promise<StoredToken> {
  const [fields, expireTime] = await Promise.all([
    master.command("HMGET", key, "o", "n", "g", "s", "c", "t"),
    master.command("PEXPIRETIME", key),
  ]);
  const [organizationId, name, generation, secretHash, created, ttl] = fields as (string | null)[];
  const id = key.slice(tokenKeyPrefix(tag).length);
  return {
    uid: tag + id,
    organizationId: organizationId ?? "",
    name: name ?? "",
    generation: Number(generation),
    secretHash: secretHash ?? "",
    createTimeMs: Number(created),
    ttlMs: Number(ttl),
    keyExpireTimeMs: Number(expireTime),
  };
}

function readEvent(tag: string, fields: readonly string[]): StoredEvent {
  const of = new Map<string, string>();
  for (let at = 0; at < fields.length; at += 2) of.set(fields[at] ?? "", fields[at + 1] ?? "");
  return {
    kind: of.get("k") ?? "",
    uid: tag + of.get("i"),
    generation: Number(of.get("g")),
    organizationId: of.get("o") ?? "",
    name: of.get("n") ?? "",
  };
}
