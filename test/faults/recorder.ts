// What the clients of one run asked and what they were told: the mutations, the verifications, and the secrets that came
// out of them. The ledger and the linearizability checker read it; it judges nothing itself.
import { hashSecret, parseToken } from "../../src/domain/token-string.js";
import type { History, Operation, Outcome } from "./history.js";

/** A token name of one organization; all of them belong to one user. */
export interface TokenName {
  readonly organizationId: string;
  readonly name: string;
}

export type MutationKind = "create" | "renew" | "revoke";

/** What became of a mutation, as far as its client knows. */
export type MutationOutcome =
  | { readonly kind: "acknowledged"; readonly uid: string; readonly generation: number; readonly secretHash?: string }
  /** It did not happen because of the state it met. */
  | { readonly kind: "refused"; readonly as: "exists" | "missing" }
  /** Every attempt was told that it was not applied. */
  | { readonly kind: "unapplied" }
  /** Nobody knows; `hasHappened` when the service said that it did but can no longer give the answer. */
  | { readonly kind: "open"; readonly hasHappened: boolean };

export interface Mutation {
  readonly client: number;
  readonly token: TokenName;
  readonly kind: MutationKind;
  /** Label of the secret that it makes; empty for a revocation. */
  readonly secret: string;
  readonly callMs: number;
  readonly returnMs: number;
  readonly outcome: MutationOutcome;
}

export interface Verification {
  readonly client: number;
  readonly token: TokenName;
  readonly secret: string;
  readonly callMs: number;
  readonly returnMs: number;
  readonly answer:
    | { readonly as: "current"; readonly uid: string; readonly generation: number }
    | { readonly as: "superseded" | "unknown" };
}

/** A secret that some client was given. */
export interface KnownSecret {
  readonly label: string;
  readonly bearer: string;
  readonly uid: string;
}

export class Recorder {
  readonly mutations: Mutation[] = [];
  readonly verifications: Verification[] = [];
  /** Answers that no fault excuses. */
  readonly unexpected: string[] = [];
  /** Calls that gave their client nothing: no answer, or only that the service cannot answer now. */
  failedCalls = 0;
  slowestMs = 0;
  acknowledged = 0;
  readonly #secrets = new Map<TokenName, KnownSecret[]>();
  #labels = 0;

  /** A label for a secret that is about to be made. */
  nextLabel(): string {
    this.#labels += 1;
    return `s${this.#labels}`;
  }

  addMutation(mutation: Mutation): void {
    this.mutations.push(mutation);
    if (mutation.outcome.kind === "acknowledged") this.acknowledged += 1;
  }

  addVerification(verification: Verification): void {
    this.verifications.push(verification);
  }

  addSecret(token: TokenName, secret: KnownSecret): void {
    const known = this.#secrets.get(token);
    if (known === undefined) this.#secrets.set(token, [secret]);
    else known.push(secret);
  }

  /** The known secrets of a token name, in the order in which they became known. */
  secretsOf(token: TokenName): readonly KnownSecret[] {
    return this.#secrets.get(token) ?? [];
  }

  /** One history for each token name, in the order of the calls. */
  histories(): ReadonlyMap<TokenName, History> {
    const entries = [...this.mutations.flatMap(mutationEntry), ...this.verifications.map(verificationEntry)];
    entries.sort((a, b) => a.entry.callMs - b.entry.callMs);
    const byToken = grouped(entries, ({ token }) => token);
    return new Map(Array.from(byToken, ([token, list]) => [token, list.map(({ entry }) => entry)]));
  }
}

/** The items by their keys, each list in the order given. */
export function grouped<Item, Key>(items: Iterable<Item>, keyOf: (item: Item) => Key): Map<Key, Item[]> {
  const groups = new Map<Key, Item[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}

/** What the store keeps of the secret in a bearer string. Throws for what is no token of ours. */
export function storedHashOf(bearer: string): string {
  const parsed = parseToken("apt", bearer);
  if (parsed === undefined) throw new Error("the service issued a string that is no token");
  return hashSecret(parsed.secret);
}

function mutationEntry({ client, token, kind, secret, callMs, returnMs, outcome }: Mutation) {
  const operation: Operation = kind === "revoke" ? { kind } : { kind, secret };
  const told = historyOutcome(outcome);
  return told === undefined ? [] : [{ token, entry: { client, callMs, returnMs, operation, outcome: told } }];
}

function historyOutcome(outcome: MutationOutcome): Outcome | undefined {
  switch (outcome.kind) {
    case "acknowledged":
      return { kind: "done", generation: outcome.generation };
    case "refused":
      return outcome;
    case "open":
      return { kind: "open" };
    case "unapplied":
      return undefined;
  }
}

function verificationEntry({ client, token, secret, callMs, returnMs, answer }: Verification) {
  const operation: Operation = { kind: "verify", secret };
  const outcome: Outcome =
    answer.as === "current"
      ? { kind: "verified", as: "current", generation: answer.generation }
      : { kind: "verified", as: answer.as };
  return { token, entry: { client, callMs, returnMs, operation, outcome } };
}
