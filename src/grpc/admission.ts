// Who is let in when there is much to do: how many handlers run, how often a caller calls, how often a peer fails.
// Whoever asks for too much is refused at once, before Redis is asked, and is alone in that.
import type { ApiTokenServiceService } from "../../gen/apitoken/v1/api_token_service.js";
import type { TokenVerificationServiceService } from "../../gen/apitoken/v1/token_verification_service.js";
import type { Principal } from "../domain/access.js";
import { ApiTokenError } from "../domain/errors.js";
import { RateLimiter } from "./rate-limiter.js";

/** Our RPCs by their names in the contract. */
export type RpcName = Capitalize<keyof typeof ApiTokenServiceService | keyof typeof TokenVerificationServiceService>;

/** Calls a second that one caller may make of each RPC on average; five seconds' worth may come at once. */
export const DEFAULT_CALL_RATES: Readonly<Record<RpcName, number>> = {
  CreateToken: 100,
  GetToken: 500,
  ListTokens: 500,
  RenewToken: 100,
  RevokeToken: 100,
  ListTokenEvents: 100,
  VerifyToken: 20_000,
};

export interface AdmissionLimits {
  /** Handlers that run at a time, in all and of one caller. */
  readonly maxConcurrentCalls: number;
  readonly maxConcurrentCallsPerCaller: number;
  readonly callRates: Readonly<Record<RpcName, number>>;
  /** Bad credentials and dead tokens that one peer's address may present a second. */
  readonly failedVerificationRate: number;
}

/** What is known of a call before its caller is. */
export interface Arrival {
  readonly rpc: RpcName;
  /** The peer's address. */
  readonly peer: string;
  /** The `authorization` of the call, if any. Kept only in memory, and only while its caller is refused. */
  readonly credential: string | undefined;
}

const OVERLOADED_RETRY_MS = 1000;
const MAX_REFUSED_CREDENTIALS = 10_000;

export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #calls: ReadonlyMap<string, RateLimiter>;
  readonly #failures: RateLimiter;
  readonly #runningOf = new Map<string, number>();
  #running = 0;
  /** Until when a credential's caller is refused, by RPC and credential: they need not be checked to be refused again. */
  readonly #refusedUntilMs = new Map<string, number>();

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
    this.#calls = new Map(Object.entries(limits.callRates).map(([rpc, rate]) => [rpc, new RateLimiter(rate)]));
    this.#failures = new RateLimiter(limits.failedVerificationRate);
  }

  /** Looks at a call before anybody is asked whose it is. Throws OVERLOADED or RATE_LIMITED. */
  enter({ rpc, peer, credential }: Arrival): void {
    const nowMs = performance.now();
    if (this.#running >= this.#limits.maxConcurrentCalls) throw overloaded();
    refuseFor(this.#failures.waitMs(peer, nowMs));
    if (credential !== undefined) this.#refuseKnown(rpc + credential, nowMs);
  }

  /** Lets the caller's handler run. Throws OVERLOADED or RATE_LIMITED; otherwise it must `leave` in the end. */
  admit({ rpc, credential }: Arrival, caller: Principal): void {
    const nowMs = performance.now();
    const key = keyOf(caller);
    const running = this.#runningOf.get(key) ?? 0;
    const { maxConcurrentCalls, maxConcurrentCallsPerCaller } = this.#limits;
    if (running >= maxConcurrentCallsPerCaller || this.#running >= maxConcurrentCalls) throw overloaded();
    const limiter = this.#calls.get(rpc);
    const waitMs = limiter?.waitMs(key, nowMs) ?? 0;
    if (waitMs > 0 && credential !== undefined) this.#rememberRefused(rpc + credential, nowMs + waitMs);
    refuseFor(waitMs);
    limiter?.take(key, nowMs);
    this.#running += 1;
    this.#runningOf.set(key, running + 1);
  }

  leave(caller: Principal): void {
    const key = keyOf(caller);
    const running = this.#runningOf.get(key) ?? 0;
    this.#running -= 1;
    if (running > 1) this.#runningOf.set(key, running - 1);
    else this.#runningOf.delete(key);
  }

  /** Counts a bad credential or a dead token. */
  fail({ peer }: Arrival): void {
    this.#failures.take(peer, performance.now());
  }

  #refuseKnown(key: string, nowMs: number): void {
    const untilMs = this.#refusedUntilMs.get(key);
    if (untilMs === undefined) return;
    if (untilMs <= nowMs) this.#refusedUntilMs.delete(key);
    else refuseFor(untilMs - nowMs);
  }

  #rememberRefused(key: string, untilMs: number): void {
    if (this.#refusedUntilMs.size >= MAX_REFUSED_CREDENTIALS) this.#refusedUntilMs.clear();
    this.#refusedUntilMs.set(key, untilMs);
  }
}

/** A service is told apart by the user that it acts for, so that one user of a portal does not stop the others. */
function keyOf({ organizationId, userId, actor }: Principal): string {
  return `${organizationId}\0${userId}\0${actor}`;
}

function overloaded(): ApiTokenError {
  return new ApiTokenError("OVERLOADED", { retryAfterMs: OVERLOADED_RETRY_MS });
}

function refuseFor(waitMs: number): void {
  if (waitMs > 0) throw new ApiTokenError("RATE_LIMITED", { retryAfterMs: waitMs });
}
