// The RPCs: each names its verb of the domain and converts its answer. Everything else is the pipeline's or the domain's.
import type { ApiTokenServiceServer } from "../../gen/apitoken/v1/api_token_service.js";
import {
  InactiveReason,
  type TokenVerificationServiceServer,
  type VerifyTokenResponse,
} from "../../gen/apitoken/v1/token_verification_service.js";
import { DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE } from "../domain/token.js";
import type { TokenService } from "../domain/token-service.js";
import type { TokenVerifier } from "../domain/token-verifier.js";
import { type Pipeline, unary } from "./call.js";
import { apiToken, issuedToken, tokenEvent, verification } from "./messages.js";

/** The tokens that one call may pass over cost the store as much as so many pages. */
const FILTER_WEIGHT = 4;

export function apiTokenHandlers(pipeline: Pipeline, tokens: TokenService): ApiTokenServiceServer {
  return {
    createToken: unary(pipeline, "CreateToken", async (request, caller) =>
      issuedToken(await tokens.create(caller, request)),
    ),
    getToken: unary(pipeline, "GetToken", async (request, caller) => ({
      apiToken: apiToken(await tokens.get(caller, request)),
    })),
    listTokens: unary(
      pipeline,
      "ListTokens",
      async (request, caller) => {
        const page = await tokens.list(caller, request);
        return { apiTokens: page.tokens.map(apiToken), nextPageToken: page.nextPageToken };
      },
      {
        weigh: ({ pageSize, expireBefore }) =>
          Math.max(expireBefore ? FILTER_WEIGHT : 1, Math.min(pageSize, MAX_PAGE_SIZE) / DEFAULT_PAGE_SIZE),
      },
    ),
    renewToken: unary(pipeline, "RenewToken", async (request, caller) =>
      issuedToken(await tokens.renew(caller, request)),
    ),
    revokeToken: unary(pipeline, "RevokeToken", async (request, caller) => ({
      apiToken: apiToken(await tokens.revoke(caller, request)),
    })),
    listTokenEvents: unary(pipeline, "ListTokenEvents", async (request, caller) => {
      const page = await tokens.listEvents(caller, request);
      return { events: page.events.map(tokenEvent), nextPageToken: page.nextPageToken };
    }),
  };
}

export function tokenVerificationHandlers(pipeline: Pipeline, verifier: TokenVerifier): TokenVerificationServiceServer {
  return {
    verifyToken: unary(
      pipeline,
      "VerifyToken",
      // Written with `then`: each async function more on this path costs some per cent of it.
      (request, caller) => verifier.verify(caller, request.token).then(verification),
      { countFailures: (answer) => (isDead(answer) ? 1 : 0), isRoutine: true },
    ),
    verifyTokens: unary(
      pipeline,
      "VerifyTokens",
      async (request, caller) => ({
        results: (await verifier.verifyAll(caller, request.tokens)).map(verification),
      }),
      {
        weigh: ({ tokens }) => Math.max(1, tokens.length),
        countFailures: ({ results }) => results.filter(isDead).length,
        isRoutine: true,
      },
    ),
  };
}

/** What is not a token at all costs no Redis call and tells nothing. */
function isDead({ active, reason }: VerifyTokenResponse): boolean {
  return !active && reason !== InactiveReason.INACTIVE_REASON_MALFORMED;
}
