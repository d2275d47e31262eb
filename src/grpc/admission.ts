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

  /** Lets a call in, whoever it is from. Throws OVERLOADED or RATE_LIMITED; otherwise `leave` the visit in the end. */
  enter(arrival: Arrival): Visit {
    const nowMs = performance.now();
    if (this.#running >= this.#limits.maxConcurrentCalls) throw overloaded();
    refuseFor(this.#failures.waitMs(arrival.peer, nowMs));
    if (arrival.credential !== undefined) this.#refuseKnown(arrival.rpc + arrival.credential, nowMs);
    this.#running += 1;
    return new Visit(this, arrival);
  }

  /** Lets the caller of a call in that has entered. Throws OVERLOADED or RATE_LIMITED. */
  admit({ rpc, credential }: Arrival, caller: string): void {
    const nowMs = performance.now();
    const running = this.#runningOf.get(caller) ?? 0;
    if (running >= this.#limits.maxConcurrentCallsPerCaller) throw overloaded();
    const limiter = this.#calls.get(rpc);
    const waitMs = limiter?.waitMs(caller, nowMs) ?? 0;
    if (waitMs > 0 && credential !== undefined) this.#rememberRefused(rpc + credential, nowMs + waitMs);
    refuseFor(waitMs);
    limiter?.take(caller, nowMs);
    this.#runningOf.set(caller, running + 1);
  }

  /** Counts a bad credential or a dead token. */
  fail({ peer }: Arrival): void {
    this.#failures.take(peer, performance.now());
  }

  leave(caller: string | undefined): void {
    this.#running -= 1;
    if (caller === undefined) return;
    const running = this.#runningOf.get(caller) ?? 0;
    if (running > 1) this.#runningOf.set(caller, running - 1);
    else this.#runningOf.delete(caller);
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

/** One call that was let in. */
export class Visit {
  readonly #admission: Admission;
  readonly #arrival: Arrival;
  #caller: string | undefined;

  constructor(admission: Admission, arrival: Arrival) {
    this.#admission = admission;
    this.#arrival = arrival;
  }

  /** Throws OVERLOADED or RATE_LIMITED. */
  admit({ organizationId, userId, actor }: Principal): void {
    const caller = `${organizationId}\0${userId}\0${actor}`;
    this.#admission.admit(this.#arrival, caller);
    this.#caller = caller;
  }

  fail(): void {
    this.#admission.fail(this.#arrival);
  }

  leave(): void {
    this.#admission.leave(this.#caller);
  }
}

function overloaded(): ApiTokenError {
  return new ApiTokenError("OVERLOADED", { retryAfterMs: OVERLOADED_RETRY_MS });
}

function refuseFor(waitMs: number): void {
  if (waitMs > 0) throw new ApiTokenError("RATE_LIMITED", { retryAfterMs: waitMs });
}
