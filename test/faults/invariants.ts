// What must hold of Redis after each run, whatever happened in it: every token ends when it says, the index has the tokens
// and nothing else, an organization is in one slot, and each change has left exactly one event.

import { eventsKey, indexKey, receiptKey, supersededKey, tokenKeyPrefix } from "../../src/redis/layout.js";
import { changeKey } from "./ledger.js";
import { USER } from "./load.js";
import { grouped, type Mutation } from "./recorder.js";
import type { OrganizationState, StoredEvent, StoredToken } from "./store-state.js";

const MAX_EXPIRY_ERROR_MS = 1000;
const MUTATION_EVENTS = { create: "created", renew: "renewed", revoke: "revoked" } as const;

/** What does not hold, a sentence each. */
export function brokenInvariants(store: readonly OrganizationState[], mutations: readonly Mutation[]): string[] {
  return [
    ...store.flatMap((organization) => [
      ...keyFaults(organization),
      ...organization.tokens.flatMap(tokenFaults),
      ...indexFaults(organization),
      ...eventFaults(organization),
    ]),
    ...missingEvents(store, mutations),
  ];
}

function keyFaults({ organizationId, tag, masters, keys, lasting }: OrganizationState): string[] {
  const whole = [indexKey(tag), eventsKey(tag), `apitoken:{${tag}}:pulse`];
  const prefixes = [tokenKeyPrefix(tag), receiptKey(tag, ""), supersededKey({ tag, id: "" })];
  const isKnown = (key: string) =>
    whole.includes(key) ||
    prefixes.some((prefix) => key.startsWith(prefix) && /^[\w-]+$/.test(key.slice(prefix.length)));
  return [
    ...keys.filter((key) => !isKnown(key)).map((key) => `a key of no known form: ${key}`),
    ...lasting.map((key) => `a key that never expires: ${key}`),
    ...(masters.length > 1 ? [`${organizationId} is in several places: ${masters.join(", ")}`] : []),
  ];
}

function tokenFaults({ uid, createTimeMs, ttlMs, keyExpireTimeMs }: StoredToken): string[] {
  const isExact = Math.abs(keyExpireTimeMs - (createTimeMs + ttlMs)) <= MAX_EXPIRY_ERROR_MS;
  return isExact ? [] : [`${uid} ends at ${createTimeMs + ttlMs} and its key at ${keyExpireTimeMs}`];
}

function indexFaults({ organizationId, tag, tokens, indexMembers }: OrganizationState): string[] {
  const expected = new Set(tokens.map(({ uid, name }) => `${USER}\0${name}\0${uid.slice(tag.length)}`));
  const actual = new Set(indexMembers);
  const names = grouped(tokens, ({ name }) => name);
  return [
    ...[...expected].filter((member) => !actual.has(member)).map((member) => `not in the index: ${shown(member)}`),
    ...[...actual].filter((member) => !expected.has(member)).map((member) => `only in the index: ${shown(member)}`),
    ...[...names.entries()]
      .filter(([, ofName]) => ofName.length > 1)
      .map(([name]) => `${organizationId} has several tokens called ${name}`),
  ];
}

/** A token's generation is the number of its events, and each event is there once. */
function eventFaults({ tokens, events }: OrganizationState): string[] {
  const ofToken = grouped(events, ({ uid }) => uid);
  return tokens.flatMap(({ uid, generation }) => {
    const kinds = (ofToken.get(uid) ?? []).map(({ kind }) => kind);
    const created = kinds.filter((kind) => kind === "created").length;
    const renewed = kinds.filter((kind) => kind === "renewed").length;
    const isEven = created === 1 && renewed === generation - 1 && !kinds.includes("revoked");
    return isEven ? [] : [`${uid} is of generation ${generation}, by its events ${created} + ${renewed}`];
  });
}

function missingEvents(store: readonly OrganizationState[], mutations: readonly Mutation[]): string[] {
  const events = new Set(store.flatMap((organization) => organization.events).map(eventKey));
  return mutations.flatMap(({ kind, outcome }) => {
    if (outcome.kind !== "acknowledged" || events.has(`${MUTATION_EVENTS[kind]} ${changeKey(outcome)}`)) return [];
    return [`no event: ${kind} ${changeKey(outcome)}`];
  });
}

function eventKey(event: StoredEvent): string {
  return `${event.kind} ${changeKey(event)}`;
}

function shown(member: string): string {
  return member.replaceAll("\0", " ");
}
