// Domain values as messages of the contract.
import { type ApiToken, type TokenEvent as EventMessage, TokenEventKind } from "../../gen/apitoken/v1/api_token.js";
import { InactiveReason, Secret, type VerifyTokenResponse } from "../../gen/apitoken/v1/token_verification_service.js";
import type { Timestamp } from "../../gen/google/protobuf/timestamp.js";
import { etagOf, expireTimeMs, type Token } from "../domain/token.js";
import type { TokenEvent } from "../domain/token-event.js";
import type { IssuedToken } from "../domain/token-service.js";
import type { Verification } from "../domain/token-verifier.js";

export function apiToken(token: Token): ApiToken {
  const { lastUsedTimeMs, previousSecretExpireTimeMs } = token;
  return {
    uid: token.uid,
    organizationId: token.organizationId,
    userId: token.userId,
    name: token.name,
    role: token.role,
    createTime: fromMs(token.createTimeMs),
    expireTime: fromMs(expireTimeMs(token)),
    lastUsedTime: lastUsedTimeMs === undefined ? undefined : fromMs(lastUsedTimeMs),
    ttl: fromMs(token.ttlMs),
    generation: BigInt(token.generation),
    etag: etagOf(token),
    previousSecretExpireTime: previousSecretExpireTimeMs === undefined ? undefined : fromMs(previousSecretExpireTimeMs),
  };
}

/** CreateTokenResponse and RenewTokenResponse alike. */
export function issuedToken({ token, bearer, replayed }: IssuedToken) {
  return { apiToken: apiToken(token), token: bearer, replayed };
}

const KIND_OF = {
  created: TokenEventKind.TOKEN_EVENT_KIND_CREATED,
  renewed: TokenEventKind.TOKEN_EVENT_KIND_RENEWED,
  revoked: TokenEventKind.TOKEN_EVENT_KIND_REVOKED,
  superseded_use: TokenEventKind.TOKEN_EVENT_KIND_SUPERSEDED_USE,
} as const;

export function tokenEvent({ kind, timeMs, generation, ...rest }: TokenEvent): EventMessage {
  return { ...rest, kind: KIND_OF[kind], eventTime: fromMs(timeMs), generation: BigInt(generation) };
}

const SECRETS = { current: Secret.SECRET_CURRENT, previous: Secret.SECRET_PREVIOUS } as const;
const REASONS = {
  malformed: InactiveReason.INACTIVE_REASON_MALFORMED,
  unknown: InactiveReason.INACTIVE_REASON_UNKNOWN,
  superseded: InactiveReason.INACTIVE_REASON_SUPERSEDED,
} as const;

export function verification(answer: Verification): VerifyTokenResponse {
  if (!answer.active) {
    const reason = REASONS[answer.reason];
    return { active: false, apiToken: undefined, secret: Secret.SECRET_UNSPECIFIED, reason, expiresIn: undefined };
  }
  return {
    active: true,
    apiToken: apiToken(answer.token),
    secret: SECRETS[answer.secret],
    reason: InactiveReason.INACTIVE_REASON_UNSPECIFIED,
    expiresIn: { seconds: BigInt(Math.floor(answer.expiresInMs / 1000)), nanos: 0 },
  };
}

/** A Timestamp or a Duration; both are seconds and nanos. Milliseconds are never negative here. */
export function fromMs(ms: number): Timestamp {
  const seconds = Math.floor(ms / 1000);
  return { seconds: BigInt(seconds), nanos: (ms - seconds * 1000) * 1_000_000 };
}
