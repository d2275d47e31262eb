// Who is let in when there is much to do: how many calls run, how often a caller calls, how often it fails. Whoever asks for
// too much is refused at once, before Redis is asked, and is alone in that.
import type { ApiTokenServiceService } from "../../gen/apitoken/v1/api_token_service.js";
import type { TokenVerificationServiceService } from "../../gen/apitoken/v1/token_verification_service.js";
import type { Principal } from "../domain/access.js";
import { ApiTokenError } from "../domain/errors.js";
import { RateLimiter } from "./rate-limiter.js";
import { RefusalPace } from "./refusal-pace.js";

/** Our RPCs by their names in the contract. */
export type RpcName = Capitalize<keyof typeof ApiTokenServiceService | keyof typeof TokenVerificationServiceService>;

/** What a call counts as: a batch takes as many verifications as it has tokens. */
const BUDGET_OF = { VerifyTokens: "VerifyToken" } as const;
type RatedRpc = Exclude<RpcName, keyof typeof BUDGET_OF>;

/** Calls a second that one caller may make of each RPC on average; five seconds' worth may come at once. */
export const DEFAULT_CALL_RATES: Readonly<Record<RatedRpc, number>> = {
  CreateToken: 100,
  GetToken: 500,
  ListTokens: 100,
  RenewToken: 100,
  RevokeToken: 100,
  ListTokenEvents: 100,
  VerifyToken: 20_000,
};

export interface AdmissionLimits {
  /** Calls that run at a time, in all and of one caller. */
  readonly maxConcurrentCalls: number;
  readonly maxConcurrentCallsPerCaller: number;
  readonly callRates: Readonly<Record<RatedRpc, number>>;
  /** Bad credentials a second of one address. */
  readonly failedCredentialRate: number;
  /** Dead tokens a second that one caller may ask about from one address. */
  readonly failedVerificationRate: number;
}

/** What is known of a call before its caller is. */
export interface Arrival {
  readonly rpc: RpcName;
  /** How many calls it counts for: those that give Redis much to do count for several. */
  readonly weight: number;
  /** The peer's address. */
  readonly peer: string;
  /** What tells the `authorization` of the call from others, if there is any. */
  readonly credential: string | undefined;
}

const MAX_REFUSED_CREDENTIALS = 1000;
/** They keep Redis and this process busy for milliseconds each, in which everybody waits. */
const LISTS: ReadonlySet<RpcName> = new Set(["ListTokens", "ListTokenEvents"]);
const MAX_LISTS = 16;
const MAX_LISTS_PER_CALLER = 2;

export class Admission {
  /** Whoever is refused waits for a turn before being told, whatever was called. */
  readonly refusals = new RefusalPace();
  readonly #limits: AdmissionLimits;
  readonly #calls: ReadonlyMap<string, RateLimiter>;
  readonly #badCredentials: RateLimiter;
  readonly #deadTokens: RateLimiter;
  /** Calls that have entered, and of them those of each credential; calls that run, of each caller and each service. */
  readonly #entered = new Counter();
  readonly #running = new Counter();
  /** Until when a credential's caller is refused, by RPC and credential: they need not be checked to be refused again. */
  readonly #refusedUntilMs = new Map<string, number>();

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
    this.#calls = new Map(Object.entries(limits.callRates).map(([rpc, rate]) => [rpc, new RateLimiter(rate)]));
    this.#badCredentials = new RateLimiter(limits.failedCredentialRate);
    this.#deadTokens = new RateLimiter(limits.failedVerificationRate);
  }

  /** Calls whose handlers run. */
  get runningCalls(): number {
    return this.#running.total;
  }

  /** Looks at a call before anybody is asked whose it is. Throws OVERLOADED or RATE_LIMITED; otherwise `leave` in the end. */
  enter(arrival: Arrival): Visit {
    const { rpc, peer, credential } = arrival;
    const { maxConcurrentCalls, maxConcurrentCallsPerCaller } = this.#limits;
    const nowMs = performance.now();
    // Twice as many, so that those who are only looked at leave room for the others.
    if (this.#entered.total >= 2 * maxConcurrentCalls) throw new ApiTokenError("OVERLOADED");
    if (credential !== undefined) {
      refuseFor(this.#badCredentials.waitMs(peer, nowMs));
      if (this.#refusedUntilMs.size > 0) this.#refuseKnown(rpc + credential, nowMs);
      if (this.#entered.of(credential) >= maxConcurrentCallsPerCaller) throw new ApiTokenError("OVERLOADED");
    }
    this.#entered.add(keysOf(credential));
    return new Visit(this, arrival, nowMs);
  }

  /** Lets the caller's handler run: the keys that it runs under. Throws OVERLOADED or RATE_LIMITED. */
  admit({ rpc, weight, peer, credential }: Arrival, caller: Principal, nowMs: number): readonly string[] {
    const { maxConcurrentCalls, maxConcurrentCallsPerCaller } = this.#limits;
    const { kind, actor } = caller;
    const key = keyOf(caller);
    // All users of a service together leave half of the room to the rest of the world.
    const isServiceFull = kind === "delegate" && this.#running.of(actor) >= maxConcurrentCalls / 2;
    const isCallerFull = this.#running.of(key) >= maxConcurrentCallsPerCaller;
    if (isServiceFull || isCallerFull || this.#running.total >= maxConcurrentCalls)
      throw new ApiTokenError("OVERLOADED");
    const budget = rpc === "VerifyTokens" ? BUDGET_OF[rpc] : rpc;
    const limiter = this.#calls.get(budget);
    const waitMs = limiter?.waitMs(key, nowMs) ?? 0;
    if (waitMs > 0 && credential !== undefined) this.#rememberRefused(rpc + credential, nowMs + waitMs, nowMs);
    refuseFor(waitMs);
    if (budget === "VerifyToken" && !this.#deadTokens.isUntouched)
      refuseFor(this.#deadTokens.waitMs(peer + key, nowMs));
    const keys = kind === "delegate" ? [key, actor] : [key];
    if (LISTS.has(rpc)) {
      const [lists, ownLists] = ["lists", `lists of ${key}`];
      const isFull = this.#running.of(lists) >= MAX_LISTS || this.#running.of(ownLists) >= MAX_LISTS_PER_CALLER;
      if (isFull) throw new ApiTokenError("OVERLOADED");
      keys.push(lists, ownLists);
    }
    limiter?.take(key, nowMs, weight);
    this.#running.add(keys);
    return keys;
  }

  /** Counts a bad credential, or dead tokens that the caller with these keys asked about. */
  fail({ peer, credential }: Arrival, keys: readonly string[], count: number): void {
    const [key] = keys;
    if (key !== undefined) this.#deadTokens.take(peer + key, performance.now(), count);
    else if (credential !== undefined) this.#badCredentials.take(peer, performance.now());
  }

  leave({ credential }: Arrival, keys: readonly string[]): void {
    this.#entered.remove(keysOf(credential));
    if (keys.length > 0) this.#running.remove(keys);
  }

  #refuseKnown(key: string, nowMs: number): void {
    const untilMs = this.#refusedUntilMs.get(key);
    if (untilMs === undefined) return;
    if (untilMs <= nowMs) this.#refusedUntilMs.delete(key);
    else refuseFor(untilMs - nowMs);
  }

  #rememberRefused(key: string, untilMs: number, nowMs: number): void {
    for (const [other, otherUntilMs] of this.#refusedUntilMs) {
      if (otherUntilMs <= nowMs || this.#refusedUntilMs.size >= MAX_REFUSED_CREDENTIALS)
        this.#refusedUntilMs.delete(other);
    }
    this.#refusedUntilMs.set(key, untilMs);
  }
}

/** One call that has entered. */
export class Visit {
  readonly #admission: Admission;
  readonly #arrival: Arrival;
  readonly #nowMs: number;
  #keys: readonly string[] = [];

  constructor(admission: Admission, arrival: Arrival, nowMs: number) {
    this.#admission = admission;
    this.#arrival = arrival;
    this.#nowMs = nowMs;
  }

  /** Throws OVERLOADED or RATE_LIMITED. */
  admit(caller: Principal): void {
    this.#keys = this.#admission.admit(this.#arrival, caller, this.#nowMs);
  }

  fail(count = 1): void {
    this.#admission.fail(this.#arrival, this.#keys, count);
  }

  leave(): void {
    this.#admission.leave(this.#arrival, this.#keys);
  }
}

/**
 * Whose limits they are: all tokens of a user have one budget, so that they do not multiply it and none of them takes the
 * user's own; a service has one for each user that it acts for, so that one user of a portal does not stop the others.
 */
function keyOf(caller: Principal): string {
  const known = callerKeys.get(caller);
  if (known !== undefined) return known;
  const { organizationId, userId, actor, token } = caller;
  const key = `${organizationId}\0${userId}\0${token === undefined ? actor : "tokens"}`;
  callerKeys.set(caller, key);
  return key;
}

/** Of principals that are remembered for their credential. */
const callerKeys = new WeakMap<Principal, string>();

const NO_KEYS: readonly string[] = [];
function keysOf(credential: string | undefined): readonly string[] {
  return credential === undefined ? NO_KEYS : [credential];
}

/** How many there are, in all and under each key. */
class Counter {
  readonly #of = new Map<string, number>();
  total = 0;

  of(key: string): number {
    return this.#of.get(key) ?? 0;
  }

  add(keys: readonly string[]): void {
    this.total += 1;
    for (const key of keys) this.#of.set(key, this.of(key) + 1);
  }

  remove(keys: readonly string[]): void {
    this.total -= 1;
    for (const key of keys) {
      const rest = this.of(key) - 1;
      if (rest > 0) this.#of.set(key, rest);
      else this.#of.delete(key);
    }
  }
}

function refuseFor(waitMs: number): void {
  if (waitMs > 0) throw new ApiTokenError("RATE_LIMITED", { retryAfterMs: waitMs });
}
