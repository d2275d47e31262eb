// The token lifecycle: each verb takes the caller first, then checks the fields, asks the rules, and acts.
// No transport can skip a check, for there is no other way to the store.
import { authorize, authorizeRole, isItself, type Principal } from "./access.js";
import { ApiTokenError, type Reason } from "./errors.js";
import { type DurationField, Fields, type TimestampField } from "./fields.js";
import { encodePageToken } from "./page-token.js";
import { openReplay, type RetryableRequest, sealReplay } from "./replay.js";
import { ALL_USERS, type Token } from "./token.js";
import type { TokenEvent } from "./token-event.js";
import type { EventPosition, ListPosition, Missed, Replayed, ReplayRefused, TokenStore } from "./token-store.js";
import { formatToken, generateSecret, generateUid, hashSecret } from "./token-string.js";

/** The limits an operator sets. */
export interface TokenPolicy {
  readonly tokenPrefix: string;
  readonly maxTtlMs: number;
  readonly maxTokensPerUser: number;
}

/** A token with the bearer string that was just made, or made by an earlier try of the same request. */
export interface IssuedToken {
  readonly token: Token;
  readonly bearer: string;
  readonly replayed: boolean;
}

const REFUSALS: Readonly<Record<(ReplayRefused | Missed)["outcome"] | "exists" | "limit", Reason>> = {
  reused: "REQUEST_ID_REUSED",
  expired: "REPLAY_EXPIRED",
  missing: "TOKEN_NOT_FOUND",
  conflict: "ETAG_MISMATCH",
  exists: "TOKEN_ALREADY_EXISTS",
  limit: "TOKEN_LIMIT_EXCEEDED",
};

/** Matches no state. */
const NO_ETAG = "-";

export class TokenService {
  readonly #store: TokenStore;
  readonly #policy: TokenPolicy;

  constructor(store: TokenStore, policy: TokenPolicy) {
    this.#store = store;
    this.#policy = policy;
  }

  async create(
    caller: Principal,
    request: { name: string; role: string; ttl: DurationField | undefined; requestId: string },
  ): Promise<IssuedToken> {
    const fields = new Fields();
    const name = fields.name(request.name);
    const role = fields.role(request.role);
    const ttlMs = fields.ttl(request.ttl, this.#policy.maxTtlMs);
    const requestId = fields.requestId(request.requestId);
    fields.refuseViolations();
    authorize(caller, "create", { userId: caller.userId });
    authorizeRole(caller, role);

    const retryable = retryableRequest(caller, requestId, ["create", name, role, ttlMs]);
    const secret = generateSecret();
    const { organizationId, userId, actor } = caller;
    const answer = await this.#store.create({
      organizationId,
      userId,
      actor,
      uid: generateUid(organizationId),
      name,
      role,
      ttlMs,
      secretHash: hashSecret(secret),
      replay: retryable && sealReplay(retryable, secret),
      maxTokensPerUser: this.#policy.maxTokensPerUser,
    });
    if (answer.outcome === "created") return this.#issue(answer.token, secret);
    return this.#settle(retryable, answer);
  }

  async get(caller: Principal, request: { name: string; userId: string }): Promise<Token> {
    const fields = new Fields();
    const name = fields.name(request.name);
    const userId = fields.userId(request.userId, caller.userId);
    fields.refuseViolations();
    authorize(caller, "get", { userId, name });

    const token = await this.#store.get({ organizationId: caller.organizationId, userId }, name);
    const isOther = token?.uid !== caller.token?.uid && isItself(caller, { userId, name });
    if (token === undefined || isOther) throw new ApiTokenError("TOKEN_NOT_FOUND");
    return token;
  }

  async list(
    caller: Principal,
    request: { pageSize: number; pageToken: string; userId: string; expireBefore: TimestampField | undefined },
  ): Promise<{ tokens: readonly Token[]; nextPageToken: string }> {
    const fields = new Fields();
    const limit = fields.pageSize(request.pageSize);
    const userId = fields.userIdOrAll(request.userId, caller.userId);
    const expireBeforeMs = fields.expireBefore(request.expireBefore);
    const query = ["ListTokens", userId, ...(expireBeforeMs === undefined ? [] : [String(expireBeforeMs)])];
    const isPosition = (at: readonly string[]): at is ListPosition =>
      at.length === 2 && (userId === ALL_USERS || at[0] === userId);
    const after = fields.pageToken(request.pageToken, caller, query, isPosition);
    fields.refuseViolations();
    authorize(caller, "list", { userId });

    const { organizationId } = caller;
    const page = await this.#store.list({ organizationId, userId: oneUser(userId), expireBeforeMs, after, limit });
    return { tokens: page.tokens, nextPageToken: page.next ? encodePageToken(caller, query, page.next) : "" };
  }

  async listEvents(
    caller: Principal,
    request: { name: string; uid: string; pageSize: number; pageToken: string; userId: string },
  ): Promise<{ events: readonly TokenEvent[]; nextPageToken: string }> {
    const fields = new Fields();
    const { name, uid } = fields.nameOrUid(request.name, request.uid);
    const limit = fields.pageSize(request.pageSize);
    const userId = fields.userIdOrAll(request.userId, caller.userId);
    const query = ["ListTokenEvents", userId, request.name, request.uid];
    const before = fields.pageToken(request.pageToken, caller, query, isEventPosition);
    fields.refuseViolations();
    authorize(caller, "listEvents", { userId });

    const { organizationId } = caller;
    const page = await this.#store.listEvents({ organizationId, userId: oneUser(userId), name, uid, before, limit });
    return { events: page.events, nextPageToken: page.next ? encodePageToken(caller, query, page.next) : "" };
  }

  async renew(
    caller: Principal,
    request: { name: string; gracePeriod: DurationField | undefined; requestId: string; etag: string; userId: string },
  ): Promise<IssuedToken> {
    const fields = new Fields();
    const name = fields.name(request.name);
    const gracePeriodMs = fields.gracePeriod(request.gracePeriod);
    const requestId = fields.requestId(request.requestId);
    const etag = fields.etag(request.etag);
    const userId = fields.userId(request.userId, caller.userId);
    fields.refuseViolations();
    authorize(caller, "renew", { userId, name });

    const retryable = retryableRequest(caller, requestId, ["renew", userId, name, gracePeriodMs, etag]);
    const secret = generateSecret();
    const { organizationId, actor } = caller;
    const answer = await this.#store.renew({
      organizationId,
      userId,
      actor,
      name,
      gracePeriodMs,
      secretHash: hashSecret(secret),
      replay: retryable && sealReplay(retryable, secret),
      etag: etagFor(caller, { userId, name }, etag),
    });
    if (answer.outcome === "renewed") return this.#issue(answer.token, secret);
    return this.#settle(retryable, answer);
  }

  async revoke(caller: Principal, request: { name: string; etag: string; userId: string }): Promise<Token> {
    const fields = new Fields();
    const name = fields.name(request.name);
    const etag = fields.etag(request.etag);
    const userId = fields.userId(request.userId, caller.userId);
    fields.refuseViolations();
    authorize(caller, "revoke", { userId, name });

    const { organizationId, actor } = caller;
    const condition = etagFor(caller, { userId, name }, etag);
    const answer = await this.#store.revoke({ organizationId, userId, actor, name, etag: condition });
    if (answer.outcome !== "revoked") throw new ApiTokenError(REFUSALS[answer.outcome]);
    return answer.token;
  }

  #issue(token: Token, secret: string, replayed = false): IssuedToken {
    return { token, bearer: formatToken(this.#policy.tokenPrefix, token.uid, secret), replayed };
  }

  /** The answer that is not a new token: that of an earlier try, or a refusal. */
  #settle(retryable: RetryableRequest | undefined, answer: Replayed | { outcome: keyof typeof REFUSALS }): IssuedToken {
    if (answer.outcome !== "replayed") throw new ApiTokenError(REFUSALS[answer.outcome]);
    if (retryable === undefined) throw new Error("the store replayed a request that has no request_id");
    return this.#issue(answer.token, openReplay(retryable, answer.sealedSecret), true);
  }
}

/** Whose tokens a query is about; undefined = everybody's. */
function oneUser(userId: string): string | undefined {
  return userId === ALL_USERS ? undefined : userId;
}

function isEventPosition(position: readonly string[]): position is EventPosition {
  const [id = ""] = position;
  // Nothing comes before 0-0.
  return position.length === 1 && /^\d{1,19}-\d{1,19}$/.test(id) && !/^0+-0+$/.test(id);
}

/**
 * A token changes itself only in the state whose secret it presented: never one that another has renewed since, nor another
 * token that has its name now. By its previous secret it can thus only have an answer repeated, and nothing changed.
 */
function etagFor(caller: Principal, target: { userId: string; name: string }, etag: string): string {
  const { token } = caller;
  if (token === undefined || !isItself(caller, target)) return etag;
  return etag === "" || etag === token.etag ? token.etag : NO_ETAG;
}

function retryableRequest(
  { organizationId, userId }: Principal,
  requestId: string | undefined,
  fields: readonly (string | number)[],
): RetryableRequest | undefined {
  return requestId === undefined ? undefined : { organizationId, userId, requestId, fields };
}
