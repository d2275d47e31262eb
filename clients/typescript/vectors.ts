// Makes the calls of the vector files named on the command line, and prints the outcome of each.
import { readFileSync } from "node:fs";
import { call, connect, Refusal } from "./client.js";
import {
  CreateTokenRequest,
  GetTokenRequest,
  ListTokenEventsRequest,
  ListTokensRequest,
  RenewTokenRequest,
  RevokeTokenRequest,
} from "./gen/apitoken/v1/api_token_service.js";
import { inactiveReasonToJSON, VerifyTokenRequest } from "./gen/apitoken/v1/token_verification_service.js";

const TIMEOUT_MS = 10_000;

interface Call {
  readonly method: string;
  readonly request: object;
}

/** A file has one of the four lists. */
interface Vectors {
  readonly tokens?: readonly { readonly id: string; readonly token: string }[];
  readonly names?: readonly { readonly id: string; readonly name: string }[];
  readonly page_sizes?: readonly { readonly id: string; readonly page_size: number }[];
  readonly calls?: readonly (Call & { readonly id: string; readonly before?: readonly Call[] })[];
}

const { tokens, verification, close } = connect();
for (const path of process.argv.slice(2)) await runFile(JSON.parse(readFileSync(path, "utf8")));
close();

async function runFile({ tokens = [], names = [], page_sizes: pageSizes = [], calls = [] }: Vectors): Promise<void> {
  for (const { id, token } of tokens) console.log(`token, ${id}: ${await outcome(verify(token))}`);
  for (const { id, name } of names) console.log(`name, ${id}: ${await outcome(createNamed(name))}`);
  if (pageSizes.length > 0) for (let i = 1; i <= 5; i += 1) await createNamed(`page-${i}`);
  for (const { id, page_size } of pageSizes) console.log(`page size, ${id}: ${await outcome(pages(page_size))}`);
  for (const { id, before = [], ...last } of calls) {
    console.log(`call, ${id}: ${await outcome(sequence([...before, last]))}`);
  }
}

async function outcome(answer: Promise<string>): Promise<string> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof Refusal) return error.toString();
    throw error;
  }
}

async function verify(token: string): Promise<string> {
  const request = VerifyTokenRequest.fromPartial({ token });
  const { reason } = await call(verification.verifyToken.bind(verification), request, TIMEOUT_MS);
  return inactiveReasonToJSON(reason);
}

async function createNamed(name: string): Promise<string> {
  const request = CreateTokenRequest.fromPartial({ name });
  const { apiToken } = await call(tokens.createToken.bind(tokens), request, TIMEOUT_MS);
  return apiToken?.name === name ? "created" : "another name";
}

async function pages(pageSize: number): Promise<string> {
  const lengths: number[] = [];
  const request = ListTokensRequest.fromPartial({ pageSize });
  do {
    const { apiTokens, nextPageToken } = await call(tokens.listTokens.bind(tokens), request, TIMEOUT_MS);
    lengths.push(apiTokens.length);
    request.pageToken = nextPageToken;
  } while (request.pageToken !== "");
  return lengths.join(" ");
}

/** Ends at the first refusal. */
async function sequence(calls: readonly Call[]): Promise<string> {
  let token = "";
  for (const { method, request } of calls) {
    const answer = await callByName(method, JSON.parse(JSON.stringify(request).replaceAll("$TOKEN", token), reviver));
    if ("token" in answer && typeof answer.token === "string") token = answer.token;
  }
  return "answered";
}

function callByName(method: string, request: object): Promise<object> {
  switch (method) {
    case "CreateToken":
      return call(tokens.createToken.bind(tokens), CreateTokenRequest.fromJSON(request), TIMEOUT_MS);
    case "GetToken":
      return call(tokens.getToken.bind(tokens), GetTokenRequest.fromJSON(request), TIMEOUT_MS);
    case "ListTokens":
      return call(tokens.listTokens.bind(tokens), ListTokensRequest.fromJSON(request), TIMEOUT_MS);
    case "RenewToken":
      return call(tokens.renewToken.bind(tokens), RenewTokenRequest.fromJSON(request), TIMEOUT_MS);
    case "RevokeToken":
      return call(tokens.revokeToken.bind(tokens), RevokeTokenRequest.fromJSON(request), TIMEOUT_MS);
    case "ListTokenEvents":
      return call(tokens.listTokenEvents.bind(tokens), ListTokenEventsRequest.fromJSON(request), TIMEOUT_MS);
    case "VerifyToken":
      return call(verification.verifyToken.bind(verification), VerifyTokenRequest.fromJSON(request), TIMEOUT_MS);
    default:
      throw new Error(`no method ${method}`);
  }
}

/** ts-proto does not read durations as protobuf's JSON writes them. */
function reviver(key: string, value: unknown): unknown {
  return key === "ttl" || key === "gracePeriod" ? { seconds: Number.parseInt(String(value), 10) } : value;
}
