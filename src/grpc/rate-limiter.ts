// How often somebody may do something: the generic cell rate algorithm, which needs one number for each of them.
// Knows nothing of calls and callers.

/** So many keys are remembered; beyond that the longest unseen ones are forgotten, and begin anew. */
const MAX_KEYS = 10_000;
const BURST_MS = 5000;

export class RateLimiter {
  readonly #intervalMs: number;
  /** When each key will have made up for what it has taken. */
  readonly #evenAtMs = new Map<string, number>();

  /** Each key may take `perSecond` on average, and what five seconds give at once. */
  constructor(perSecond: number) {
    this.#intervalMs = 1000 / perSecond;
  }

  /** True when no key has taken anything, and so none has to wait. */
  get isUntouched(): boolean {
    return this.#evenAtMs.size === 0;
  }

  /** How long the key has to wait before it may take something; 0 when it may now. */
  waitMs(key: string, nowMs: number): number {
    const evenAtMs = this.#evenAtMs.get(key) ?? nowMs;
    return Math.max(0, evenAtMs + this.#intervalMs - nowMs - BURST_MS);
  }

  /** Takes one, or `weight` of them, of which all but the first may be made up for later. */
  take(key: string, nowMs: number, weight = 1): void {
    const evenAtMs = Math.max(this.#evenAtMs.get(key) ?? nowMs, nowMs);
    // Taken out first where some will have to be forgotten, so that the map's order is that of the last takings.
    if (this.#evenAtMs.size > MAX_KEYS / 2) this.#evenAtMs.delete(key);
    this.#evenAtMs.set(key, evenAtMs + weight * this.#intervalMs);
    if (this.#evenAtMs.size <= MAX_KEYS) return;
    const [oldest = key] = this.#evenAtMs.keys();
    this.#evenAtMs.delete(oldest);
  }
}
