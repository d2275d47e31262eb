// The connection to the server: one method per RPC, each with deadlines and safe retries.
// Must not know statements, tables or the terminal.
import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import {
  type CallOptions,
  type ChannelCredentials,
  type ClientUnaryCall,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import type { ApiToken, TokenEvent } from "../../gen/apitoken/v1/api_token.js";
import {
  ApiTokenServiceClient,
  type CreateTokenResponse,
  type RenewTokenResponse,
} from "../../gen/apitoken/v1/api_token_service.js";
import { RpcError } from "./rpc-error.js";

const ATTEMPT_TIMEOUT_MS = 5_000;
const NAMES_TIMEOUT_MS = 500;
const RETRY_BUDGET_MS = 10_000;
// A wrong address should be told soon; a server seen before is worth waiting for while it restarts.
const FIRST_CONTACT_BUDGET_MS = 3_000;
const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 1_000;
const PAGE_SIZE = 1_000;

/** Where the server is and how to speak to it. */
export interface Connection {
  readonly host: string;
  readonly port: number;
  readonly credentials: ChannelCredentials;
  readonly isEncrypted: boolean;
  readonly token: string | undefined;
}

type UnaryMethod<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

type Answer<Response> =
  | { readonly kind: "response"; readonly response: Response }
  | { readonly kind: "failure"; readonly error: RpcError };

/** All methods throw RpcError, and only after what may be retried was retried. */
export class ApiTokenClient {
  readonly #stub: ApiTokenServiceClient;
  readonly #token: string | undefined;
  readonly #retryBudgetMs: number;
  #wasReached = false;

  /** Connects with the first call. A server that has answered before is waited for at most for so long. */
  constructor({ host, port, credentials, isEncrypted, token }: Connection, retryLimitMs = RETRY_BUDGET_MS) {
    this.#token = token;
    this.#retryBudgetMs = Math.min(retryLimitMs, RETRY_BUDGET_MS);
    this.#stub = new ApiTokenServiceClient(`dns:${host}:${port}`, credentials, {
      "grpc.enable_retries": 0,
      "grpc.service_config_disable_resolution": 1,
      "grpc.initial_reconnect_backoff_ms": FIRST_BACKOFF_MS,
      "grpc.max_reconnect_backoff_ms": MAX_BACKOFF_MS,
      // Plaintext is for this machine only; a proxy from the environment would see it.
      ...(isEncrypted ? {} : { "grpc.enable_http_proxy": 0 }),
    });
  }

  close(): void {
    this.#stub.close();
  }

  /** Creates a token at most once, however often the call is sent. */
  createToken(name: string, role: string, ttlSeconds: number | undefined): Promise<CreateTokenResponse> {
    const request = { name, role, ttl: durationOf(ttlSeconds), requestId: randomUUID() };
    return this.#callWithRetries(this.#stub.createToken.bind(this.#stub), request);
  }

  async getToken(name: string): Promise<ApiToken | undefined> {
    const response = await this.#callWithRetries(this.#stub.getToken.bind(this.#stub), { name, userId: "" });
    return response.apiToken;
  }

  /** All tokens of the caller, or those that expire before that instant, from as many pages as there are. */
  async listTokens(expireBefore: Date | undefined): Promise<ApiToken[]> {
    const pages: ApiToken[][] = [];
    let pageToken = "";
    do {
      const request = { pageSize: PAGE_SIZE, pageToken, userId: "", expireBefore: timestampOf(expireBefore) };
      const page = await this.#callWithRetries(this.#stub.listTokens.bind(this.#stub), request);
      pages.push(page.apiTokens);
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    return pages.flat();
  }

  /** The names of the first 1,000 tokens of the caller, to help with typing: none when they do not come at once. */
  async tokenNames(): Promise<string[]> {
    const request = { pageSize: PAGE_SIZE, pageToken: "", userId: "", expireBefore: undefined };
    const answer = await this.#call(this.#stub.listTokens.bind(this.#stub), request, undefined, NAMES_TIMEOUT_MS);
    return answer.kind === "response" ? answer.response.apiTokens.map(({ name }) => name) : [];
  }

  /** What happened to the caller's tokens of that name, or to all of them, from as many pages as there are. */
  async listTokenEvents(name: string | undefined): Promise<TokenEvent[]> {
    const pages: TokenEvent[][] = [];
    let pageToken = "";
    do {
      const request = { name: name ?? "", uid: "", pageSize: PAGE_SIZE, pageToken, userId: "" };
      const page = await this.#callWithRetries(this.#stub.listTokenEvents.bind(this.#stub), request);
      pages.push(page.events);
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    return pages.flat();
  }

  /** Renews a token at most once, however often the call is sent. */
  renewToken(name: string, gracePeriodSeconds: number | undefined): Promise<RenewTokenResponse> {
    const gracePeriod = durationOf(gracePeriodSeconds);
    const request = { name, gracePeriod, requestId: randomUUID(), etag: "", userId: "" };
    return this.#callWithRetries(this.#stub.renewToken.bind(this.#stub), request);
  }

  /** Ends a token. Undefined when it was already gone after an attempt with an unknown outcome. */
  async revokeToken(name: string): Promise<ApiToken | undefined> {
    try {
      const request = { name, etag: "", userId: "" };
      const response = await this.#callWithRetries(this.#stub.revokeToken.bind(this.#stub), request);
      return response.apiToken;
    } catch (error) {
      const isGone = error instanceof RpcError && error.code === status.NOT_FOUND;
      if (isGone && error.mayHaveHappened) return undefined;
      throw error;
    }
  }

  /** The request carries its request_id, so that each attempt repeats the same one. */
  async #callWithRetries<Request, Response>(
    method: UnaryMethod<Request, Response>,
    request: Request,
  ): Promise<Response> {
    const startMs = performance.now();
    let failure: RpcError | undefined;
    for (let attempt = 0; ; attempt += 1) {
      const answer = await this.#call(method, request, failure);
      if (answer.kind === "response") {
        this.#wasReached = true;
        return answer.response;
      }
      failure = answer.error;
      this.#wasReached ||= failure.wasSent;
      const backoffMs = Math.max(jitteredBackoffMs(attempt), failure.retryDelayMs ?? 0);
      const budgetMs = this.#wasReached ? this.#retryBudgetMs : FIRST_CONTACT_BUDGET_MS;
      const isInTime = performance.now() - startMs + backoffMs <= budgetMs;
      if (!failure.isTransient || !isInTime) throw failure;
      await delay(backoffMs);
    }
  }

  #call<Request, Response>(
    method: UnaryMethod<Request, Response>,
    request: Request,
    earlier: RpcError | undefined,
    timeoutMs = ATTEMPT_TIMEOUT_MS,
  ): Promise<Answer<Response>> {
    const metadata = new Metadata();
    if (this.#token !== undefined) metadata.set("authorization", `Bearer ${this.#token}`);
    const options = { deadline: Date.now() + timeoutMs };
    return new Promise((resolve) => {
      method(request, metadata, options, (error, response) => {
        if (error === null) resolve({ kind: "response", response });
        else resolve({ kind: "failure", error: new RpcError(error, earlier) });
      });
    });
  }
}

function durationOf(seconds: number | undefined): { seconds: bigint; nanos: number } | undefined {
  return seconds === undefined ? undefined : { seconds: BigInt(seconds), nanos: 0 };
}

function timestampOf(date: Date | undefined): { seconds: bigint; nanos: number } | undefined {
  if (date === undefined) return undefined;
  const seconds = Math.floor(date.getTime() / 1000);
  return { seconds: BigInt(seconds), nanos: (date.getTime() - seconds * 1000) * 1_000_000 };
}

function jitteredBackoffMs(attempt: number): number {
  const backoffMs = Math.min(FIRST_BACKOFF_MS * 2 ** attempt, MAX_BACKOFF_MS);
  return backoffMs * (0.5 + Math.random() / 2);
}
