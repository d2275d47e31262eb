// Holds what clients were told against what there is in the end. It finds acknowledged changes that are lost, changes that
// happened more often than they were asked for, tokens that came back after their revocation, and two secrets alive at once.
// It judges by uid and generation, which are never used twice, so a fault is not hidden by what happened to the name later.
import { grouped, type Mutation, type MutationKind, type TokenName, type Verification } from "./recorder.js";
import type { OrganizationState, StoredEvent, StoredToken } from "./store-state.js";

/** What went wrong, a sentence each. */
export interface Audit {
  /** Acknowledged changes that are gone. */
  readonly lost: readonly string[];
  /** Changes that were applied more often than asked for. */
  readonly doubled: readonly string[];
  /** Tokens that lived after an acknowledged revocation. */
  readonly resurrected: readonly string[];
  /** Names of which two secrets were alive at once. */
  readonly twoAlive: readonly string[];
}

export interface Books {
  readonly mutations: readonly Mutation[];
  readonly verifications: readonly Verification[];
  readonly store: readonly OrganizationState[];
}

type Acknowledged = Mutation & { readonly outcome: { readonly kind: "acknowledged" } };

const EVENT_OF: Readonly<Record<MutationKind, string>> = { create: "created", renew: "renewed", revoke: "revoked" };
const KINDS = Object.keys(EVENT_OF) as MutationKind[];

/** Judges a run that has ended, with nothing under way any longer. */
export function audit({ mutations, verifications, store }: Books): Audit {
  const tokens = new Map(store.flatMap((organization) => organization.tokens).map((token) => [token.uid, token]));
  const allEvents = store.flatMap((organization) => organization.events);
  const events = grouped(allEvents, keyOf);
  const mutated = [...grouped(mutations, ({ token }) => token)];
  const verified = grouped(verifications, ({ token }) => token);
  const accounts = mutated.map(([token, ofName]) => new Account(ofName, events.get(keyOf(token)) ?? [], tokens));
  return {
    lost: accounts.flatMap((account) => account.lost()),
    doubled: accounts.flatMap((account) => account.doubled()),
    resurrected: mutated.flatMap(([token, ofName]) =>
      resurrected(ofName.filter(isAcknowledged), verified.get(token) ?? [], tokens),
    ),
    twoAlive: [...verified].flatMap(([token, ofName]) => twoAlive(token, ofName)),
  };
}

/** What was asked of one name, and what the store says of it. */
class Account {
  readonly #acknowledged: readonly Acknowledged[];
  readonly #open: readonly Mutation[];
  readonly #events: readonly StoredEvent[];
  readonly #tokens: ReadonlyMap<string, StoredToken>;

  constructor(
    mutations: readonly Mutation[],
    events: readonly StoredEvent[],
    tokens: ReadonlyMap<string, StoredToken>,
  ) {
    this.#acknowledged = mutations.filter(isAcknowledged);
    this.#open = mutations.filter(({ outcome }) => outcome.kind === "open");
    this.#events = events;
    this.#tokens = tokens;
  }

  lost(): string[] {
    const revokedAt = new Map(
      this.#acknowledged.filter(isRevocation).map((m) => [m.outcome.uid, m.outcome.generation]),
    );
    // Ended by a revocation that nobody was told of: at most as many as were asked for.
    const openEnds = this.#unclaimed("revoke").slice(0, this.#openOf("revoke").length);
    const endedOpenly = new Map(openEnds.map(({ uid, generation }) => [uid, generation]));
    const gone = this.#acknowledged.filter((mutation) => {
      if (isRevocation(mutation)) return false;
      const { uid, generation, secretHash } = mutation.outcome;
      const token = this.#tokens.get(uid);
      if (token === undefined) return (revokedAt.get(uid) ?? endedOpenly.get(uid) ?? 0) < generation;
      return token.generation < generation || (token.generation === generation && token.secretHash !== secretHash);
    });
    // Two answers about one generation: what the first one told was undone before the second.
    const twice = repeated(this.#acknowledged, ({ kind, outcome }) => `${EVENT_OF[kind]} ${changeKey(outcome)}`);
    // The service remembers that they happened, the store does not.
    const forgotten = KINDS.flatMap((kind) => {
      const known = this.#openOf(kind).filter(({ outcome }) => outcome.kind === "open" && outcome.hasHappened);
      return known.slice(this.#unclaimed(kind).length);
    });
    return [
      ...gone.map((mutation) => `lost: ${describe(mutation)}`),
      ...twice.map((mutation) => `lost, for it was acknowledged twice: ${describe(mutation)}`),
      ...forgotten.map((mutation) => `lost after it had happened: ${describe(mutation)}`),
    ];
  }

  doubled(): string[] {
    const twice = repeated(this.#events, (event) => `${event.kind} ${changeKey(event)}`);
    const unasked = KINDS.flatMap((kind) => this.#unclaimed(kind).slice(this.#openOf(kind).length));
    return [
      ...twice.map((event) => `doubled event: ${event.kind} ${changeKey(event)}`),
      ...unasked.map((event) => `nobody asked for it: ${event.kind} ${changeKey(event)} of ${event.name}`),
    ];
  }

  #openOf(kind: MutationKind): readonly Mutation[] {
    return this.#open.filter((mutation) => mutation.kind === kind);
  }

  /** Events of that kind which no acknowledged change accounts for. */
  #unclaimed(kind: MutationKind): readonly StoredEvent[] {
    const claimed = new Set(this.#acknowledged.filter((m) => m.kind === kind).map(({ outcome }) => changeKey(outcome)));
    return this.#events.filter((event) => event.kind === EVENT_OF[kind] && !claimed.has(changeKey(event)));
  }
}

function resurrected(
  acknowledged: readonly Acknowledged[],
  verifications: readonly Verification[],
  tokens: ReadonlyMap<string, StoredToken>,
): string[] {
  return acknowledged.filter(isRevocation).flatMap((revocation) => {
    const { outcome, returnMs } = revocation;
    const isUsed = ({ callMs, answer }: Verification) =>
      callMs > returnMs && answer.as === "current" && answer.uid === outcome.uid;
    const isRenewed = (m: Acknowledged) => m !== revocation && m.callMs > returnMs && m.outcome.uid === outcome.uid;
    const lives = tokens.has(outcome.uid) || verifications.some(isUsed) || acknowledged.some(isRenewed);
    return lives ? [`alive after ${describe(revocation)}`] : [];
  });
}

/**
 * A secret is current once and without a gap: from the first answer that says so to the last question that was answered so
 * it was. Two such times of one name must not overlap.
 */
function twoAlive(token: TokenName, verifications: readonly Verification[]): string[] {
  const current = verifications.filter(({ answer }) => answer.as === "current");
  const alive = Array.from(
    grouped(current, ({ secret }) => secret),
    ([secret, answers]) => ({
      secret,
      fromMs: Math.min(...answers.map(({ returnMs }) => returnMs)),
      untilMs: Math.max(...answers.map(({ callMs }) => callMs)),
    }),
  );
  return alive.flatMap((one, at) =>
    alive
      .slice(at + 1)
      .filter((other) => Math.max(one.fromMs, other.fromMs) < Math.min(one.untilMs, other.untilMs))
      .map((other) => `two alive: ${one.secret} and ${other.secret} of ${keyOf(token)}`),
  );
}

/** Those whose key was there before. */
function repeated<Item>(items: readonly Item[], keyOf: (item: Item) => string): Item[] {
  return [...grouped(items, keyOf).values()].flatMap((group) => group.slice(1));
}

function isAcknowledged(mutation: Mutation): mutation is Acknowledged {
  return mutation.outcome.kind === "acknowledged";
}

function isRevocation({ kind }: Mutation): boolean {
  return kind === "revoke";
}

/** A change of one token: no two that happened have the same. */
export function changeKey({ uid, generation }: { readonly uid: string; readonly generation: number }): string {
  return `${uid}.${generation}`;
}

function keyOf({ organizationId, name }: TokenName): string {
  return `${organizationId} ${name}`;
}

function describe({ kind, token, secret, client, callMs, returnMs, outcome }: Mutation): string {
  const change = outcome.kind === "acknowledged" ? changeKey(outcome) : outcome.kind;
  const when = `${callMs.toFixed(1)} to ${returnMs.toFixed(1)} ms`;
  return `${kind} ${secret} of ${keyOf(token)} (${change}), client ${client}, ${when}`;
}
