// Puts tokens into Redis by the store's own script, many at once: a million in a minute or two. The arguments are those that
// src/redis/redis-token-store.ts gives; the answers and the checks of the contenders tell when they no longer are.
import type { Owner } from "../src/domain/token.js";
import {
  formatToken,
  generateSecret,
  hashSecret,
  ID_LENGTH,
  parseToken,
  randomText,
  splitUid,
} from "../src/domain/token-string.js";
import { eventsKey, indexAndTokens, receiptKey, tokenKey } from "../src/redis/layout.js";
import { create, recordUse } from "../src/redis/scripts.js";
import { type BenchRedis, MAX_TOKENS_PER_USER } from "./servers.js";

export const TOKEN_PREFIX = "apt";
/** So many are under way at a time. */
const BATCH = 2000;
const TTL_MS = 90 * 86_400_000;
const EVENT_RETENTION_MS = 400 * 86_400_000;
const OPERATION_LENGTH = 16;
/** By the clock of Redis, which is that of this machine. */
const NOT_AFTER_MS = 5000;

export interface NamedToken extends Owner {
  readonly name: string;
}

/** Creates these tokens; their bearer strings, in order. */
export async function plantTokens(redis: BenchRedis, tokens: readonly NamedToken[]): Promise<string[]> {
  const bearers: string[] = [];
  for (let at = 0; at < tokens.length; at += BATCH) {
    const batch = tokens.slice(at, at + BATCH);
    const planted = await Promise.all(batch.map((token) => plant(redis, token)));
    // They would end by themselves a second later, and until then be weighed as tokens.
    await redis.client.del(...planted.map(({ receipt }) => receipt));
    bearers.push(...planted.map(({ bearer }) => bearer));
  }
  return bearers;
}

async function plant(redis: BenchRedis, { organizationId, userId, name }: NamedToken) {
  const { tag, keys } = indexAndTokens(organizationId);
  const id = randomText(ID_LENGTH);
  const secret = generateSecret();
  const operation = randomText(OPERATION_LENGTH);
  const unused = ["", "", "", 0];
  const mutation = [operation, Date.now() + NOT_AFTER_MS, userId, name, ...unused, `user:${userId}`];
  const creation = [organizationId, id, "", TTL_MS, hashSecret(secret), MAX_TOKENS_PER_USER];
  const receipt = receiptKey(tag, operation);
  const scriptKeys = [...keys, receipt, eventsKey(tag)];
  const args = [...mutation, EVENT_RETENTION_MS, ...creation];
  const [word] = await redis.master.run(0, receipt, (connection) => create(connection, scriptKeys, args));
  if (word !== "ok") throw new Error(`a token of the bench was not created: ${word}`);
  return { bearer: formatToken(TOKEN_PREFIX, tag + id, secret), receipt };
}

/** Lets them have been renewed so often that their generation keeps its length while more renewals are timed. */
export async function markRenewed({ client }: BenchRedis, bearers: readonly string[]): Promise<void> {
  for (const key of bearers.map(keyOf)) await client.hset(key, { g: "100000" });
}

/** Notes for each that it has just been used, as its first verification does. */
export async function markUsed({ master }: BenchRedis, bearers: readonly string[]): Promise<void> {
  const keys = bearers.map(keyOf);
  const mark = (key = "") => master.run(0, key, (connection) => recordUse(connection, [key, key], ["1"]));
  // The first by itself, for it may have to teach Redis the script.
  await mark(keys[0]).catch(() => {});
  for (let at = 0; at < keys.length; at += BATCH) await Promise.all(keys.slice(at, at + BATCH).map(mark));
}

/** Where Redis has it. */
export function keyOf(bearer: string): string {
  return tokenKey(splitUid(parseToken(TOKEN_PREFIX, bearer)?.uid ?? ""));
}

/** Numbered names of 16 characters. */
export function names(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, at) => prefix + String(at).padStart(16 - prefix.length, "0"));
}
