// What can still become of a token with the operations that are not yet in the order. It errs on the side of hope: what it
// rules out is impossible in every order, which spares the search for an explanation most of its dead ends.
import type { Token } from "./history.js";
import type { Event } from "./timeline.js";

/** Generation 0 is no token. */
const ABSENT = 0;

/** The calls and returns that are ahead of a token, told in the order of time. */
export class Prospects {
  private readonly token: Token;
  private readonly secrets = new Set<string>();
  /** How often each generation can be come to, less how often it has to be left, by the answered mutations told so far. */
  private readonly balance: number[] = [];
  /** How many generations above 1 are left too often, summed up: each time an open renewal has to make up for it. */
  private lacking = 0;
  private readonly open = { create: 0, renew: 0, revoke: 0 };
  private readonly renewals: boolean[] = [];
  private creations = 0;
  private readonly revocations: number[] = [];

  constructor(token: Token) {
    this.token = token;
    this.change(token?.generation ?? ABSENT, 1);
  }

  call({ entry: { operation }, outcome }: Event): void {
    if (operation.kind === "verify" || outcome.kind === "refused" || outcome.kind === "verified") return;
    if ("secret" in operation) this.secrets.add(operation.secret);
    if (outcome.kind === "open") {
      this.open[operation.kind]++;
    } else if (operation.kind === "revoke") {
      this.revocations.push(outcome.generation);
      this.change(ABSENT, 1);
    } else {
      if (operation.kind === "renew") this.renewals[outcome.generation] = true;
      else this.creations++;
      this.change(outcome.generation, 1);
    }
  }

  /** Whether all that has returned so far, this as the latest, may have been answered so. */
  allowReturn({ entry: { operation }, outcome }: Event): boolean {
    if (outcome.kind !== "done") return true;
    if (operation.kind === "create") {
      if (outcome.generation !== 1) return false;
      this.change(ABSENT, -1);
    } else this.change(operation.kind === "renew" ? outcome.generation - 1 : outcome.generation, -1);
    return (
      this.lacking <= this.open.renew &&
      (this.balance[1] ?? 0) + this.open.create >= 0 &&
      (this.balance[ABSENT] ?? 0) + this.open.revoke >= 0
    );
  }

  private change(generation: number, by: 1 | -1): void {
    const before = this.balance[generation] ?? 0;
    this.balance[generation] = before + by;
    if (generation > 1) this.lacking += Math.max(0, -(before + by)) - Math.max(0, -before);
  }

  /** Whether this answer, which the token as it is does not explain unless it is a mutation's, may come true with what was called. */
  allow({ entry: { operation }, outcome }: Event): boolean {
    const { token } = this;
    switch (outcome.kind) {
      case "open":
        return true;
      case "refused":
        return outcome.as === "missing" ? this.canVanish() : token !== undefined || this.canAppear();
      case "done":
        if (operation.kind === "create") return this.canVanish();
        if (operation.kind === "renew") return this.canReach(outcome.generation - 1);
        // It cannot be the one that makes room for the token that it ends.
        return this.canReach(outcome.generation, this.revocations.indexOf(outcome.generation));
      case "verified": {
        const secret = operation.kind === "verify" ? operation.secret : "";
        if (outcome.as === "current") {
          if (!this.secrets.has(secret)) return false;
          return outcome.generation === 1 ? this.canVanish() : this.canReach(outcome.generation - 1);
        }
        if (outcome.as === "unknown") return this.canVanish() || this.canGrow();
        return this.secrets.has(secret) || (token?.current === secret && this.canGrow());
      }
    }
  }

  private canReach(generation: number, revocation = -1): boolean {
    const { token } = this;
    if (generation < 1) return false;
    if (token && token.generation <= generation && this.hasRenewals(token.generation, generation)) return true;
    return this.canVanish(revocation) && this.canAppear() && this.hasRenewals(1, generation);
  }

  /** Without the revocation of this index. */
  private canVanish(without = -1): boolean {
    const generation = this.token?.generation ?? ABSENT;
    if (generation === ABSENT || this.open.revoke > 0) return true;
    return this.revocations.some(
      (ended, index) => index !== without && ended >= generation && this.hasRenewals(generation, ended),
    );
  }

  private canAppear(): boolean {
    return this.creations + this.open.create > 0;
  }

  private canGrow(): boolean {
    return this.token !== undefined && this.hasRenewals(this.token.generation, this.token.generation + 1);
  }

  private hasRenewals(from: number, to: number): boolean {
    let spare = this.open.renew;
    for (let generation = from + 1; generation <= to; generation++) {
      if (!this.renewals[generation] && --spare < 0) return false;
    }
    return true;
  }
}
