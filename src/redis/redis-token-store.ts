// The token store on Redis: the domain's commands as script calls, and their answers as tokens.
import { ApiTokenError } from "../domain/errors.js";
import type { Replay } from "../domain/replay.js";
import type { Owner, Token } from "../domain/token.js";
import type {
  CreateCommand,
  EventQuery,
  ListPosition,
  ListQuery,
  Mutation,
  Reading,
  RenewCommand,
  RevokeCommand,
  StoredToken,
  TokenStore,
} from "../domain/token-store.js";
import { ID_LENGTH, organizationTag, randomText, splitUid } from "../domain/token-string.js";
import { readFields } from "./commands.js";
import type { RedisConnection } from "./connection.js";
import {
  decodeEvent,
  decodeToken,
  eventsKey,
  hasPreviousExpiry,
  indexAndTokens,
  receiptKey,
  supersededKey,
  tokenKey,
} from "./layout.js";
import * as scripts from "./scripts.js";

const OPERATION_LENGTH = 16;
/** AIP-155 leaves the time to the service. */
const REPLAYABLE_MS = 10 * 60_000;
const NOTE_ATTEMPTS = 4;
const NOTE_RETRY_MS = 250;
/** A token leaves an event of a superseded use at most so often. */
const SUPERSEDED_INTERVAL_MS = 60_000;

export class RedisTokenStore implements TokenStore {
  readonly #redis: RedisConnection;
  readonly #lastUsedResolutionMs: number;
  readonly #eventRetentionMs: number;
  /** Tokens whose use is on its way to Redis. */
  readonly #usesUnderWay = new Set<string>();
  /** Tokens for which this process needs not ask yet whether an event of a superseded use is due. */
  readonly #supersededNoted = new Set<string>();

  constructor(redis: RedisConnection, options: { lastUsedResolutionMs: number; eventRetentionMs: number }) {
    this.#redis = redis;
    this.#lastUsedResolutionMs = options.lastUsedResolutionMs;
    this.#eventRetentionMs = options.eventRetentionMs;
  }

  async create(command: CreateCommand) {
    const { organizationId, uid, role, ttlMs, secretHash, maxTokensPerUser } = command;
    const args = [organizationId, splitUid(uid).id, role, ttlMs, secretHash, maxTokensPerUser];
    const answer = await this.#mutate(scripts.create, command, command.replay, args);
    if (answer[0] === "ok") return { outcome: "created" as const, token: tokenOf(answer, command, command.name) };
    if (answer[0] === "replayed") return replayed(answer, command);
    if (answer[0] === "collision") throw new Error("a new uid is taken");
    return { outcome: answer[0] };
  }

  async renew(command: RenewCommand) {
    const args = [command.secretHash, command.gracePeriodMs, command.etag];
    const answer = await this.#mutate(scripts.renew, command, command.replay, args);
    if (answer[0] === "ok") return { outcome: "renewed" as const, token: tokenOf(answer, command, command.name) };
    if (answer[0] === "replayed") return replayed(answer, command);
    return { outcome: answer[0] };
  }

  async revoke(command: RevokeCommand) {
    const answer = await this.#mutate(scripts.revoke, command, undefined, [command.etag]);
    if (answer[0] === "ok") return { outcome: "revoked" as const, token: tokenOf(answer, command, command.name) };
    return { outcome: answer[0] };
  }

  async get(owner: Owner, name: string): Promise<Token | undefined> {
    const { keys } = indexAndTokens(owner.organizationId);
    const answer = await this.#redis.read(keys[0], (redis) => scripts.get(redis, keys, [owner.userId, name]));
    return answer[0] === "ok" ? tokenOf(answer, owner, name) : undefined;
  }

  async list({ organizationId, userId, expireBeforeMs, after, limit }: ListQuery) {
    const { tag, keys } = indexAndTokens(organizationId);
    // Members are `user \0 name \0 id`: `~` sorts behind every id, and \1 behind every name of the user.
    const first = userId === undefined ? "-" : `[${userId}\0`;
    const start = after === undefined ? first : `(${after[0]}\0${after[1]}\0~`;
    const stop = userId === undefined ? "+" : `(${userId}\u0001`;
    const args = [start, stop, limit, ID_LENGTH, expireBeforeMs ?? ""];
    const [, nowMs, replies, next] = await this.#redis.read(keys[0], (redis) => scripts.list(redis, keys, args));
    const tokens = replies.map(([id, values]) => complete(decodeToken(tag + id, values, Number(nowMs))));
    const isAskedFor = (token: Token) =>
      token.organizationId === organizationId && (userId === undefined || token.userId === userId);
    if (!tokens.every(isAskedFor)) throw new Error("Redis answered about another owner's token");
    return { tokens, next: next === "" ? undefined : position(next) };
  }

  async listEvents({ organizationId, userId, name, uid, before, limit }: EventQuery) {
    const tag = organizationTag(organizationId);
    const token = uid === undefined ? undefined : splitUid(uid);
    if (token !== undefined && token.tag !== tag) return { events: [], next: undefined };
    const start = before === undefined ? "+" : `(${before[0]}`;
    const args = [start, limit, organizationId, userId ?? "", name ?? "", token?.id ?? ""];
    const key = eventsKey(tag);
    const [entries, next] = await this.#redis.read(key, (redis) => scripts.listEvents(redis, [key], args));
    const events = entries.map((values) => decodeEvent(tag, values));
    return { events, next: next === "" ? undefined : ([next] as const) };
  }

  async read(uid: string): Promise<Reading | undefined> {
    const key = tokenKey(splitUid(uid));
    const values = await this.#redis.read(key, (redis) => readFields(redis, key));
    // Asked after the read, the clock can only end a grace period earlier.
    const isClockNeeded = hasPreviousExpiry(values);
    const timeMs = isClockNeeded ? await this.#redis.readClock(key) : (this.#redis.nowMs(key) ?? Date.now());
    const token = decodeToken(uid, values, timeMs);
    return token && { token, timeMs };
  }

  recordUse({ token, timeMs }: Reading): void {
    const { uid, generation, lastUsedTimeMs } = token;
    if (lastUsedTimeMs !== undefined && timeMs < lastUsedTimeMs + this.#lastUsedResolutionMs) return;
    const key = `${uid}.${generation}`;
    if (this.#usesUnderWay.has(key)) return;
    this.#usesUnderWay.add(key);
    void this.#noteUse(token).finally(() => this.#usesUnderWay.delete(key));
  }

  recordSupersededUse({ uid, generation }: StoredToken, actor: string): void {
    if (this.#supersededNoted.has(uid)) return;
    this.#supersededNoted.add(uid);
    setTimeout(() => this.#supersededNoted.delete(uid), SUPERSEDED_INTERVAL_MS).unref();
    const token = splitUid(uid);
    const key = tokenKey(token);
    const keys = [key, supersededKey(token), eventsKey(token.tag)];
    const args = [token.id, generation, actor, this.#eventRetentionMs, SUPERSEDED_INTERVAL_MS];
    this.#redis
      .note(key, (redis) => scripts.recordSupersededUse(redis, keys, args))
      .catch(() => this.#supersededNoted.delete(uid));
  }

  /** Tries for as long as the note would come in time; after that the next use is noted instead. */
  async #noteUse({ uid, generation, requestHash }: StoredToken): Promise<void> {
    const parts = splitUid(uid);
    const key = tokenKey(parts);
    const receipt = requestHash === undefined ? key : receiptKey(parts.tag, requestHash);
    for (let attempt = 0; attempt < NOTE_ATTEMPTS; attempt += 1) {
      try {
        await this.#redis.note(key, (redis) => scripts.recordUse(redis, [key, receipt], [generation]));
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, NOTE_RETRY_MS).unref());
      }
    }
  }

  /** Runs a mutation with what they all take first; see lua/mutation.lua. */
  async #mutate<Reply extends readonly [word: string, ...rest: unknown[]]>(
    script: scripts.Script<Reply>,
    command: Mutation,
    replay: Replay | undefined,
    extraArgs: readonly (string | number)[],
  ): Promise<Exclude<Reply, scripts.Late>> {
    const { tag, keys } = indexAndTokens(command.organizationId);
    const operation = randomText(OPERATION_LENGTH);
    const { requestHash = "", fingerprint = "", sealedSecret = "" } = replay ?? {};
    const receipt = receiptKey(tag, requestHash === "" ? operation : requestHash);
    const scriptKeys = [...keys, receipt, eventsKey(tag)];
    const args = [
      command.userId,
      command.name,
      requestHash,
      fingerprint,
      sealedSecret,
      REPLAYABLE_MS,
      command.actor,
      this.#eventRetentionMs,
      ...extraArgs,
    ];
    const answer = await this.#redis.mutate(receipt, (redis, notAfterMs) =>
      script(redis, scriptKeys, [operation, notAfterMs, ...args]),
    );
    if (answer[0] !== "late") return answer as Exclude<Reply, scripts.Late>;
    // It reached Redis too late and changed nothing: either a stall, or Redis's clock was set.
    this.#redis.readClock(receipt).catch(() => {});
    throw new ApiTokenError("STORE_UNAVAILABLE", { cause: "late" });
  }
}

/** The token of an answer. What it says of itself must be what was asked for: a mixed-up reply stops here. */
function tokenOf(answer: scripts.TokenAnswer, { organizationId, userId }: Owner, name: string): StoredToken {
  const [, nowMs, [id, values]] = answer;
  const token = complete(decodeToken(organizationTag(organizationId) + id, values, Number(nowMs)));
  const isAskedFor = token.organizationId === organizationId && token.userId === userId && token.name === name;
  if (!isAskedFor) throw new Error("Redis answered about another token");
  return token;
}

function replayed(answer: scripts.ReplayedAnswer, asked: Owner & { readonly name: string }) {
  return { outcome: "replayed" as const, token: tokenOf(answer, asked, asked.name), sealedSecret: answer[3] };
}

function complete(token: StoredToken | undefined): StoredToken {
  if (token === undefined) throw new Error("Redis answered with a token that lacks fields");
  return token;
}

function position(entry: string): ListPosition {
  const [userId = "", name = ""] = entry.split("\0");
  return [userId, name];
}
