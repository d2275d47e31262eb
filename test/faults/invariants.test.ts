// Each invariant notices when it is broken: made-up stores, each with one thing wrong.
import { expect, test } from "@jest/globals";
import { brokenInvariants } from "./invariants.js";
import { acknowledged, event, mutation, organization, TAG, token } from "./made-up-books.js";

const MUTATIONS = [mutation(0, "create", acknowledged("a", 1)), mutation(10, "renew", acknowledged("a", 2))];
const EVENTS = [event("created", "a", 1), event("renewed", "a", 2)];
const STORE = organization([token("a", 2)], EVENTS);

test("a store that is as it should be breaks none", () => {
  expect(brokenInvariants([STORE], MUTATIONS)).toEqual([]);
});

test.each([
  [
    "a token ends later than its key",
    { tokens: [{ ...token("a", 2), keyExpireTimeMs: 1 }] },
    /ends at \d+ and its key/,
  ],
  ["a token never ends", { tokens: [{ ...token("a", 2), keyExpireTimeMs: -1 }] }, /ends at \d+ and its key at -1/],
  ["a key never expires", { lasting: [`apitoken:{${TAG}}:events`] }, /never expires/],
  ["a key is of no known form", { keys: [`apitoken:{${TAG}}:tokens`] }, /no known form/],
  ["an organization is in two places", { masters: ["redis-1", "redis-2"] }, /several places: redis-1, redis-2/],
  ["a token is not in the index", { indexMembers: [] }, /not in the index: faults deploy a{12}/],
  [
    "the index has what is no token",
    { indexMembers: [...STORE.indexMembers, "faults\0other\0bbbbbbbbbbbb"] },
    /only in the index: faults other b{12}/,
  ],
  ["an acknowledged change has no event", { events: EVENTS.slice(0, 1) }, /no event: renew/],
  ["a generation has more events than it counts", { tokens: [token("a", 1)] }, /of generation 1, by its events 1 \+ 1/],
])("it is noticed when %s", (_title, broken, expected) => {
  expect(brokenInvariants([{ ...STORE, ...broken }], MUTATIONS).join("\n")).toMatch(expected);
});

test("it is noticed when a name has two tokens", () => {
  const store = organization([token("a", 2), token("b", 1)], [...EVENTS, event("created", "b", 1)]);
  expect(brokenInvariants([store], MUTATIONS)).toEqual(["acme has several tokens called deploy"]);
});
