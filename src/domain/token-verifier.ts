// Tells whether a presented token is alive. On the path of somebody's every call: one store read, no write, and a
// string that cannot be a token costs no read at all.
import { authorize, type Principal } from "./access.js";
import { Fields } from "./fields.js";
import { expireTimeMs, type Token } from "./token.js";
import type { Reading, TokenStore } from "./token-store.js";
import { hashSecret, isSameHash, parseToken } from "./token-string.js";

/** A dead token is an answer, not an error. */
export type Verification =
  | {
      readonly active: true;
      readonly token: Token;
      readonly secret: "current" | "previous";
      /** For how long that secret still works. */
      readonly expiresInMs: number;
    }
  | { readonly active: false; readonly reason: "malformed" | "unknown" | "superseded" };

/** What came of a verification, in one word. */
export type Answer = "current" | "previous" | "malformed" | "unknown" | "superseded";

export class TokenVerifier {
  readonly #store: TokenStore;
  readonly #tokenPrefix: string;
  readonly #count: (answer: Answer) => void;

  /** `count` is told of every answer. */
  constructor(store: TokenStore, options: { tokenPrefix: string; count: (answer: Answer) => void }) {
    this.#store = store;
    this.#tokenPrefix = options.tokenPrefix;
    this.#count = options.count;
  }

  /**
   * Throws INSUFFICIENT_PRIVILEGE at once where the caller may not ask. Fails closed: rejects with STORE_UNAVAILABLE when the
   * store cannot be asked.
   */
  verify(caller: Principal, bearer: string): Promise<Verification> {
    authorize(caller, "verify", { userId: caller.userId });
    return this.#answer(bearer, caller.actor);
  }

  /** The same for 1 to 100 tokens, in their order. */
  async verifyAll(caller: Principal, bearers: readonly string[]): Promise<Verification[]> {
    const fields = new Fields();
    fields.tokens(bearers);
    fields.refuseViolations();
    authorize(caller, "verify", { userId: caller.userId });
    return Promise.all(bearers.map((bearer) => this.#answer(bearer, caller.actor)));
  }

  /** The same for what a caller presents as its own credential, which needs no grant. */
  authenticate(bearer: string): Promise<Verification> {
    return this.#answer(bearer, "");
  }

  async #answer(bearer: string, actor: string): Promise<Verification> {
    const presented = parseToken(this.#tokenPrefix, bearer);
    const verification =
      presented === undefined
        ? MALFORMED
        : this.#judge(await this.#store.read(presented.uid), hashSecret(presented.secret), actor);
    this.#count(verification.active ? verification.secret : verification.reason);
    return verification;
  }

  #judge(reading: Reading | undefined, presentedHash: string, actor: string): Verification {
    if (reading === undefined) return { active: false, reason: "unknown" };
    const { token, timeMs } = reading;
    if (isSameHash(presentedHash, token.secretHash)) {
      this.#store.recordUse(reading);
      return { active: true, token, secret: "current", expiresInMs: Math.max(0, expireTimeMs(token) - timeMs) };
    }
    if (token.previousSecretHash === undefined || !isSameHash(presentedHash, token.previousSecretHash)) {
      return { active: false, reason: "unknown" };
    }
    if (token.previousSecretExpireTimeMs !== undefined) {
      const expiresInMs = Math.max(0, token.previousSecretExpireTimeMs - timeMs);
      return { active: true, token, secret: "previous", expiresInMs };
    }
    this.#store.recordSupersededUse(token, actor);
    return { active: false, reason: "superseded" };
  }
}

const MALFORMED: Verification = { active: false, reason: "malformed" };
