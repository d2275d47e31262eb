// Calls every method that most programs need, and prints what it saw.
import { randomUUID } from "node:crypto";
import { call, connect, Refusal } from "./client.js";
import {
  type ApiTokenServiceClient,
  CreateTokenRequest,
  GetTokenRequest,
  ListTokensRequest,
  RenewTokenRequest,
  RevokeTokenRequest,
} from "./gen/apitoken/v1/api_token_service.js";
import {
  inactiveReasonToJSON,
  secretToJSON,
  type TokenVerificationServiceClient,
  VerifyTokenRequest,
} from "./gen/apitoken/v1/token_verification_service.js";
import { Duration } from "./gen/google/protobuf/duration.js";
import type { Timestamp } from "./gen/google/protobuf/timestamp.js";

const TIMEOUT_MS = 5_000;

const { tokens, verification, close } = connect();
const created = await create(tokens);
await list(tokens);
const current = await renew(tokens);
await revoke(tokens, "tour-5");
await verify(verification, "the current token", current);
await verify(verification, "the previous token", created[0]);
await verify(verification, "a revoked token", created[4]);
await verify(verification, "what is no token", `${current}x`);
await refusals(tokens);
if (process.env.APITOKEN_CA_FILE) await asTokenItself(current);
for (const name of ["tour-1", "tour-2", "tour-3", "tour-4"]) await revoke(tokens, name);
close();

/** Makes five tokens. A request_id makes each call safe to retry, by the service config or by you. */
async function create(tokens: ApiTokenServiceClient): Promise<string[]> {
  const secrets: string[] = [];
  for (let i = 1; i <= 5; i += 1) {
    const request = CreateTokenRequest.fromPartial({
      name: `tour-${i}`,
      ttl: seconds(3600),
      requestId: randomUUID(),
    });
    const { apiToken, token } = await call(tokens.createToken.bind(tokens), request, TIMEOUT_MS);
    const lifetime = secondsBetween(apiToken?.createTime, apiToken?.expireTime);
    console.log(`created ${apiToken?.name}: generation ${apiToken?.generation}, lives ${lifetime} s`);
    secrets.push(token);
  }
  return secrets;
}

/** Reads page after page until there is no next one. */
async function list(tokens: ApiTokenServiceClient): Promise<void> {
  const request = ListTokensRequest.fromPartial({ pageSize: 2 });
  do {
    const { apiTokens, nextPageToken } = await call(tokens.listTokens.bind(tokens), request, TIMEOUT_MS);
    console.log("page:", ...apiTokens.map(({ name }) => name));
    request.pageToken = nextPageToken;
  } while (request.pageToken !== "");
}

/** Makes the same call twice, as a client does that lost the first answer. */
async function renew(tokens: ApiTokenServiceClient): Promise<string> {
  const request = RenewTokenRequest.fromPartial({
    name: "tour-1",
    gracePeriod: seconds(60),
    requestId: randomUUID(),
  });
  const first = await call(tokens.renewToken.bind(tokens), request, TIMEOUT_MS);
  const { name, generation, createTime, previousSecretExpireTime } = first.apiToken ?? {};
  const grace = secondsBetween(createTime, previousSecretExpireTime);
  console.log(`renewed ${name}: generation ${generation}, the old secret works for ${grace} s`);
  const second = await call(tokens.renewToken.bind(tokens), request, TIMEOUT_MS);
  const isSame = first.token === second.token;
  console.log(`renewed with the same request_id: same token ${isSame}, replayed ${second.replayed}`);
  return second.token;
}

/** Asks as a gateway does. A dead token is an answer; an error means that nothing is known: let nobody in. */
async function verify(
  verification: TokenVerificationServiceClient,
  title: string,
  token: string | undefined,
): Promise<void> {
  const request = VerifyTokenRequest.fromPartial({ token });
  try {
    const answer = await call(verification.verifyToken.bind(verification), request, TIMEOUT_MS);
    const { active, secret, reason, apiToken } = answer;
    const text = active ? `${secretToJSON(secret)} of ${apiToken?.name}` : inactiveReasonToJSON(reason);
    console.log(`verified ${title}: ${text}`);
  } catch (error) {
    console.log(`verified ${title}: ${String(error)}`);
  }
}

/** Makes calls that fail, each in its own way. */
async function refusals(tokens: ApiTokenServiceClient): Promise<void> {
  const there = GetTokenRequest.fromPartial({ name: "tour-1" });
  const notThere = GetTokenRequest.fromPartial({ name: "tour-6" });
  const bad = RenewTokenRequest.fromPartial({ gracePeriod: seconds(8 * 86_400) });
  console.log(
    `refused a name that is not there: ${await refusalOf(call(tokens.getToken.bind(tokens), notThere, TIMEOUT_MS))}`,
  );
  console.log(`refused two bad fields: ${await refusalOf(call(tokens.renewToken.bind(tokens), bad, TIMEOUT_MS))}`);
  console.log(`out of time: ${(await refusalOf(call(tokens.getToken.bind(tokens), there, -1_000))).code}`);
}

/** Calls with the API token as its own credential. */
async function asTokenItself(token: string): Promise<void> {
  const { tokens, close } = connect(token);
  const request = GetTokenRequest.fromPartial({ name: "tour-1" });
  const { apiToken } = await call(tokens.getToken.bind(tokens), request, TIMEOUT_MS);
  console.log(`as the token itself: ${apiToken?.name}, generation ${apiToken?.generation}`);
  const another = CreateTokenRequest.fromPartial({ name: "tour-6", requestId: randomUUID() });
  const refusal = await refusalOf(call(tokens.createToken.bind(tokens), another, TIMEOUT_MS));
  console.log(`refused a token that would create: ${refusal}`);
  close();
}

/** Ends a token. The service config does not retry it: after UNAVAILABLE retry, and take NOT_FOUND for success. */
async function revoke(tokens: ApiTokenServiceClient, name: string): Promise<void> {
  const request = RevokeTokenRequest.fromPartial({ name });
  const { apiToken } = await call(tokens.revokeToken.bind(tokens), request, TIMEOUT_MS);
  console.log(`revoked ${apiToken?.name}`);
}

async function refusalOf(answer: Promise<unknown>): Promise<Refusal> {
  try {
    await answer;
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
  throw new Error("the call was not refused");
}

function seconds(count: number): Duration {
  return Duration.fromPartial({ seconds: BigInt(count) });
}

/** Both are whole milliseconds, which a double holds. */
function secondsBetween(from?: Timestamp, to?: Timestamp): number {
  const ms = (time?: Timestamp) => (time ? Number(time.seconds) * 1000 + time.nanos / 1e6 : Number.NaN);
  return (ms(to) - ms(from)) / 1000;
}
