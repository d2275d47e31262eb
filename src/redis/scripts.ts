// The Lua scripts as typed functions. Every write of a token is one of them; src/redis/lua/*.lua say what each does.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Redis } from "ioredis";
import { evalsha } from "./commands.js";
import { type EventValues, FIELDS, type FieldValues } from "./layout.js";

/** A token in an answer: its id and the values of FIELDS. */
export type TokenReply = readonly [id: string, values: FieldValues];

/** An answer without a token, by its first word. */
type Refusal<Word extends string> = Word extends string ? readonly [word: Word, nowMs: string] : never;
export type TokenAnswer = readonly [word: string, nowMs: string, token: TokenReply, ...rest: string[]];
/** The mutation was applied, now or by an earlier sending of the same command. */
type Applied = readonly [word: "ok", nowMs: string, token: TokenReply];
/** The request_id was answered before. */
export type ReplayedAnswer = readonly [word: "replayed", nowMs: string, token: TokenReply, sealed: string];
/** The mutation came after its not-after time and was not applied. */
export type Late = Refusal<"late">;

type Retryable<Word extends string> = Applied | ReplayedAnswer | Late | Refusal<Word | "reused" | "expired">;

export const create = mutation<Retryable<"exists" | "limit" | "collision">>("create");
export const renew = mutation<Retryable<"missing" | "conflict">>("renew");
export const revoke = mutation<Applied | Late | Refusal<"missing" | "conflict">>("revoke");
export const get = script<Applied | Refusal<"missing">>(2, "prelude", "get");
export const list = script<readonly ["ok", nowMs: string, readonly TokenReply[], next: string]>(2, "prelude", "list");
export const listEvents = script<readonly [events: readonly EventValues[], next: string]>(1, "list-events");
export const recordUse = script<"ok" | "gone">(2, "record-use");
export const recordSupersededUse = script<"ok" | "gone" | "recent">(3, "event", "record-superseded-use");
export const countTokens = script<readonly [cursor: string, tokens: number, ...within: number[]]>(0, "count-tokens");

/**
 * Runs the script: its keys, then its arguments. Rejects with whatever ioredis rejects with. NOSCRIPT asks for another
 * try, for what is sent in place of a command could go out behind the WAIT that was to confirm it.
 */
export type Script<Reply> = (
  redis: Redis,
  keys: readonly string[],
  args: readonly (string | number)[],
) => Promise<Reply>;

function mutation<Reply>(name: string): Script<Reply> {
  return script(4, "prelude", "event", "mutation", name);
}

/** `parts`: the files that make up the script. */
function script<Reply>(numberOfKeys: number, ...parts: readonly string[]): Script<Reply> {
  const fields = `local FIELDS = { ${FIELDS.map((field) => `'${field}'`).join(", ")} }\n`;
  const lua = fields + parts.map(source).join("\n");
  const sha = createHash("sha1").update(lua).digest("hex");
  return async (redis, keys, args) => {
    if (keys.length !== numberOfKeys) throw new Error(`the script takes ${numberOfKeys} keys, not ${keys.length}`);
    try {
      return (await evalsha(redis, sha, keys, args)) as Reply;
    } catch (error) {
      // A Redis that restarted or was flushed has lost the script; it has run nothing, and knows it for the next try.
      if (error instanceof Error && error.message.startsWith("NOSCRIPT")) await redis.script("LOAD", lua);
      throw error;
    }
  };
}

function source(name: string): string {
  return readFileSync(new URL(import.meta.resolve(`#lua/${name}`)), "utf8");
}
