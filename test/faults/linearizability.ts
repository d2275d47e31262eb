// Whether some order of the operations explains every answer of a history, each operation taking effect at one moment
// between its call and its return; and if none does, from which answer on. How an order is looked for is `explain`'s.
import { explain } from "./explanation.js";
import { type Entry, entryText, type History, type Outcome, outcomeText, tokenText } from "./history.js";
import type { Event } from "./timeline.js";

export type Verdict =
  | { readonly linearizable: true }
  | {
      readonly linearizable: false;
      readonly reason: string;
      /** The first answer, by its time, that no order explains together with all before it. */
      readonly unexplained: Entry;
      /** An order that explains all before it. Open operations in it are taken to have happened. */
      readonly explained: readonly Entry[];
    }
  /** Undecided. Not a word, so that a test for truth never takes it for a yes. */
  | { readonly linearizable: undefined; readonly reason: string };

/**
 * Judges the history of one token name, under which there was no token at first. Two operations of which one is called in
 * the millisecond in which the other returns overlap. Undecided after so many `steps`; throws when an entry returns before
 * its call.
 */
export function check(history: History, { steps = 200_000 }: { readonly steps?: number } = {}): Verdict {
  const answers = history.filter(({ outcome }) => outcome.kind !== "open");
  const backwards = answers.find(({ callMs, returnMs }) => !(callMs <= returnMs));
  if (backwards) throw new RangeError(`returned before its call: ${entryText(backwards)}`);
  answers.sort((one, other) => one.returnMs - other.returnMs);
  const whole = explain(eventsOf(history, answers), steps);
  if (whole.kind === "order") return { linearizable: true };
  if (whole.kind === "undecided") return { linearizable: undefined, reason: `undecided after ${steps} steps` };
  return refutation(history, answers, answers.indexOf(whole.reached), steps);
}

/** Finds the answer by which no order is left, when the first `possible` of the answers are explained and all are not. */
function refutation(history: History, answers: readonly Entry[], possible: number, steps: number): Verdict {
  const explainFirst = (count: number) => explain(eventsOf(history, answers.slice(0, count)), steps);
  let impossible = answers.length;
  for (let stride = 1; impossible - possible > 1; stride *= 2) {
    const count = possible + Math.min(stride, Math.floor((impossible - possible) / 2));
    // What is undecided is not known to be wrong; at worst it is the last answer of all that is.
    if (explainFirst(count).kind === "impossible") impossible = count;
    else possible = count;
  }
  const unexplained = answers[possible];
  if (!unexplained) throw new Error("a history without answers has nothing to explain");
  const before = explainFirst(possible);
  const { order, left } = before.kind === "order" ? before : { order: [] };
  const met = order.length > 0 ? `, of which one order leaves ${tokenText(left)}` : "";
  return {
    linearizable: false,
    reason: `no order explains ${entryText(unexplained)} after the ${possible} answers before it${met}`,
    unexplained,
    explained: order,
  };
}

/** What is known when these answers, the first by time, have been given: what returns later may be under way. */
function eventsOf(history: History, answers: readonly Entry[]): Event[] {
  const answered = new Set(answers);
  const nowMs = answers.at(-1)?.returnMs ?? Number.NEGATIVE_INFINITY;
  const settled = settle(history, answers);
  return history.flatMap((entry, index) => {
    const outcome = settled(entry);
    const isRead = outcome.kind === "refused" || outcome.kind === "verified";
    const isOpen = !answered.has(entry);
    if (entry.callMs > nowMs || (isOpen && isRead)) return [];
    return { entry, outcome, answer: outcomeText(outcome), isOpen, isRead, bit: 1n << BigInt(index) };
  });
}

/** What each must have been answered: an open mutation whose secret was accepted made the generation that it was accepted as. */
function settle(history: History, answers: readonly Entry[]): (entry: Entry) => Outcome {
  const makers = new Map<string, number>();
  for (const { operation } of history) {
    if (operation.kind !== "create" && operation.kind !== "renew") continue;
    makers.set(operation.secret, (makers.get(operation.secret) ?? 0) + 1);
  }
  const accepted = new Map<string, number>();
  for (const { operation, outcome } of answers) {
    if (operation.kind === "verify" && "generation" in outcome) accepted.set(operation.secret, outcome.generation);
  }
  return ({ operation, outcome }) => {
    if (outcome.kind !== "open" || !("secret" in operation) || makers.get(operation.secret) !== 1) return outcome;
    const generation = accepted.get(operation.secret);
    return generation === undefined ? outcome : { kind: "done", generation };
  };
}
