// The ledger finds what it is for, and only that: made-up books, each with one thing wrong or merely unusual.
import { expect, test } from "@jest/globals";
import { type Audit, audit, type Books } from "./ledger.js";
import { acknowledged, event, mutation, OPEN, organization, token, uidOf, verification } from "./made-up-books.js";
import type { Mutation, Verification } from "./recorder.js";
import type { StoredEvent, StoredToken } from "./store-state.js";

function books(
  mutations: readonly Mutation[],
  tokens: readonly StoredToken[],
  events: readonly StoredEvent[],
  verifications: readonly Verification[] = [],
): Books {
  return { mutations, verifications, store: [organization(tokens, events)] };
}

/** How many of each kind it finds. */
function found(of: Books): Record<keyof Audit, number> {
  const { lost, doubled, resurrected, twoAlive } = audit(of);
  return { lost: lost.length, doubled: doubled.length, resurrected: resurrected.length, twoAlive: twoAlive.length };
}

const NONE = { lost: 0, doubled: 0, resurrected: 0, twoAlive: 0 };
const CREATED = mutation(0, "create", acknowledged("a", 1));
const RENEWED = mutation(10, "renew", acknowledged("a", 2));
const REVOKED = mutation(20, "revoke", acknowledged("a", 2));
const EVENTS = [event("created", "a", 1), event("renewed", "a", 2), event("revoked", "a", 2)];
const [CREATED_EVENT, RENEWED_EVENT] = EVENTS as [StoredEvent, StoredEvent, StoredEvent];
const currentAs = (letter: string, generation: number) => ({ as: "current", uid: uidOf(letter), generation }) as const;

test("books that agree have no faults", () => {
  const verifications = [verification(5, "s0", currentAs("a", 1)), verification(15, "s10", currentAs("a", 2))];
  expect(found(books([CREATED, RENEWED], [token("a", 2)], EVENTS.slice(0, 2), verifications))).toEqual(NONE);
  expect(found(books([CREATED, RENEWED, REVOKED], [], EVENTS))).toEqual(NONE);
});

test("a later change that nobody was told of explains a higher generation, once", () => {
  const open = mutation(30, "renew", OPEN);
  const events = [CREATED_EVENT, RENEWED_EVENT, event("renewed", "a", 3)];
  expect(found(books([CREATED, RENEWED, open], [token("a", 3)], events))).toEqual(NONE);
  expect(found(books([CREATED, RENEWED], [token("a", 3)], events))).toEqual({ ...NONE, doubled: 1 });
});

test("an acknowledged renewal is lost when the token is as it was before", () => {
  expect(found(books([CREATED, RENEWED], [token("a", 1)], [CREATED_EVENT]))).toEqual({ ...NONE, lost: 1 });
});

test("an acknowledged renewal is lost when its generation has another secret", () => {
  const other = { ...token("a", 2), secretHash: "another" };
  expect(found(books([CREATED, RENEWED], [other], EVENTS.slice(0, 2)))).toEqual({ ...NONE, lost: 1 });
});

test("acknowledged changes are lost when their token is gone and nobody revoked it", () => {
  expect(found(books([CREATED, RENEWED], [], []))).toEqual({ ...NONE, lost: 2 });
  // A later token of that name is another one.
  const again = mutation(40, "create", acknowledged("b", 1));
  const events = [event("created", "b", 1)];
  expect(found(books([CREATED, RENEWED, again], [token("b", 1)], events))).toEqual({ ...NONE, lost: 2 });
});

test("a revocation without an answer explains one token that is gone, if it left its event", () => {
  const open = mutation(30, "revoke", OPEN);
  expect(found(books([CREATED, RENEWED, open], [], EVENTS))).toEqual(NONE);
  expect(found(books([CREATED, RENEWED, open], [], EVENTS.slice(0, 2)))).toEqual({ ...NONE, lost: 2 });
  const again = mutation(40, "create", acknowledged("b", 1));
  const both = [...EVENTS, event("created", "b", 1), event("revoked", "b", 1)];
  expect(found(books([CREATED, RENEWED, open, again], [], both))).toEqual({ ...NONE, lost: 1, doubled: 1 });
});

test("a renewal is lost when the revocation that was acknowledged ended an earlier generation", () => {
  const early = mutation(20, "revoke", acknowledged("a", 1));
  const events = [CREATED_EVENT, event("revoked", "a", 1)];
  expect(found(books([CREATED, RENEWED, early], [], events))).toEqual({ ...NONE, lost: 1 });
});

test("one of two acknowledged changes to the same generation is lost", () => {
  const twin = mutation(30, "renew", acknowledged("a", 2));
  expect(found(books([CREATED, RENEWED, twin], [token("a", 2)], EVENTS.slice(0, 2)))).toEqual({ ...NONE, lost: 1 });
});

test("a change is lost of which the service once knew that it had happened", () => {
  const known = mutation(30, "renew", { kind: "open", hasHappened: true });
  expect(found(books([CREATED, RENEWED, known], [token("a", 2)], EVENTS.slice(0, 2)))).toEqual({ ...NONE, lost: 1 });
  const events = [CREATED_EVENT, RENEWED_EVENT, event("renewed", "a", 3)];
  expect(found(books([CREATED, RENEWED, known], [token("a", 3)], events))).toEqual(NONE);
});

test("a change that was refused or never applied must leave nothing", () => {
  const refused = mutation(30, "create", { kind: "refused", as: "exists" });
  const unapplied = mutation(40, "renew", { kind: "unapplied" });
  const mutations = [CREATED, RENEWED, refused, unapplied];
  expect(found(books(mutations, [token("a", 2)], EVENTS.slice(0, 2)))).toEqual(NONE);
  const events = [CREATED_EVENT, RENEWED_EVENT, event("renewed", "a", 3)];
  expect(found(books(mutations, [token("a", 3)], events))).toEqual({ ...NONE, doubled: 1 });
});

test("an event that is there twice is a doubled change", () => {
  const events = [CREATED_EVENT, RENEWED_EVENT, RENEWED_EVENT];
  expect(found(books([CREATED, RENEWED], [token("a", 2)], events))).toEqual({ ...NONE, doubled: 1 });
});

test("a token lives after its acknowledged revocation when it is there, verified or renewed", () => {
  const all = [CREATED, RENEWED, REVOKED];
  const resurrected = { ...NONE, resurrected: 1 };
  expect(found(books(all, [token("a", 2)], EVENTS))).toEqual(resurrected);
  expect(found(books(all, [], EVENTS, [verification(30, "s10", currentAs("a", 2))]))).toEqual(resurrected);
  const renewedLater = mutation(30, "renew", acknowledged("a", 3));
  expect(found(books([...all, renewedLater], [], [...EVENTS, event("renewed", "a", 3)]))).toEqual({
    ...resurrected,
    lost: 1,
  });
  // Asked before the revocation had been answered.
  expect(found(books(all, [], EVENTS, [verification(20.5, "s10", currentAs("a", 2))]))).toEqual(NONE);
});

test("two secrets of a name are alive when each was current before and after the other", () => {
  const told = (...order: readonly ("s0" | "s10")[]) =>
    order.map((secret, at) => verification(30 + 10 * at, secret, currentAs("a", secret === "s0" ? 1 : 2)));
  const of = (verifications: readonly Verification[]) =>
    found(books([CREATED, RENEWED], [token("a", 2)], [CREATED_EVENT, RENEWED_EVENT], verifications));
  expect(of(told("s0", "s0", "s10", "s10"))).toEqual(NONE);
  expect(of(told("s0", "s10", "s0", "s10"))).toEqual({ ...NONE, twoAlive: 1 });
});
