// The token lifecycle: each verb takes the caller first, then checks the fields, asks the rules, and acts.
// No transport can skip a check, for there is no other way to the store.
import { authorize, authorizeRole, type Principal } from "./access.js";
import { ApiTokenError, type Reason } from "./errors.js";
import { type DurationField, Fields } from "./fields.js";
import { decodePageToken, encodePageToken } from "./page-token.js";
import { openReplay, type RetryableRequest, sealReplay } from "./replay.js";
import { ALL_USERS, type Owner, type Token } from "./token.js";
import type { Missed, Replayed, ReplayRefused, TokenStore } from "./token-store.js";
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
    authorize(caller, "create", caller.userId);
    authorizeRole(caller, role);

    const retryable = retryableRequest(caller, requestId, ["create", name, role, ttlMs]);
    const secret = generateSecret();
    const answer = await this.#store.create({
      ...ownerOf(caller, caller.userId),
      uid: generateUid(caller.organizationId),
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
    authorize(caller, "get", userId);

    const token = await this.#store.get(ownerOf(caller, userId), name);
    if (token === undefined) throw new ApiTokenError("TOKEN_NOT_FOUND");
    return token;
  }

  async list(
    caller: Principal,
    request: { pageSize: number; pageToken: string; userId: string },
  ): Promise<{ tokens: readonly Token[]; nextPageToken: string }> {
    const fields = new Fields();
    const limit = fields.pageSize(request.pageSize);
    const userId = fields.userIdOrAll(request.userId, caller.userId);
    const isFirstPage = request.pageToken === "";
    const after = isFirstPage ? undefined : decodePageToken(caller, userId, request.pageToken);
    if (!isFirstPage && after === undefined) fields.refusePageToken();
    fields.refuseViolations();
    authorize(caller, "list", userId);

    const { tokens, next } = await this.#store.list({
      organizationId: caller.organizationId,
      userId: userId === ALL_USERS ? undefined : userId,
      after,
      limit,
    });
    return { tokens, nextPageToken: next === undefined ? "" : encodePageToken(caller, userId, next) };
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
    authorize(caller, "renew", userId);

    const retryable = retryableRequest(caller, requestId, ["renew", userId, name, gracePeriodMs, etag]);
    const secret = generateSecret();
    const answer = await this.#store.renew({
      ...ownerOf(caller, userId),
      name,
      gracePeriodMs,
      secretHash: hashSecret(secret),
      replay: retryable && sealReplay(retryable, secret),
      etag,
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
    authorize(caller, "revoke", userId);

    const answer = await this.#store.revoke({ ...ownerOf(caller, userId), name, etag });
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

function ownerOf(caller: Principal, userId: string): Owner {
  return { organizationId: caller.organizationId, userId };
}

function retryableRequest(
  { organizationId, userId }: Principal,
  requestId: string | undefined,
  fields: readonly (string | number)[],
): RetryableRequest | undefined {
  return requestId === undefined ? undefined : { organizationId, userId, requestId, fields };
}
