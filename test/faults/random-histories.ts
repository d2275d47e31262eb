// Histories as clients record them of a server that does one operation after the other, faithfully or with a fault, and a
// judge of short ones that shares nothing with the checker but the shape of an entry: it tries every order.
import fc from "fast-check";
import { type Entry, type History, meet, type Operation, type Outcome, type Token } from "./history.js";

/** What becomes of an operation. The first three break no promise. */
const FATES = [
  "answered",
  "answer lost",
  "never arrived",
  "forgotten",
  "doubled",
  "stale",
  "wrong generation",
] as const;
type Fate = (typeof FATES)[number];

/** What a run is like. */
export interface Run {
  readonly clients: number;
  readonly minLength: number;
  readonly maxLength: number;
  /** How long an operation is under way before its effect, and after it, at most. */
  readonly flightMs: number;
  /** How often each fate is met. */
  readonly fates: Readonly<Partial<Record<Fate, number>>>;
  /** Whether secrets are verified that no client was given. */
  readonly guesses: boolean;
}

/** One operation as the server does it. */
interface Move {
  readonly kind: Operation["kind"];
  readonly fate: Fate;
  /** Which secret is verified, counted from the newest. */
  readonly secret: number;
  readonly client: number;
  /** Since the operation before took effect. */
  readonly waitMs: number;
  readonly earlyMs: number;
  readonly lateMs: number;
}

/** The histories that such runs leave. */
export function histories(run: Run): fc.Arbitrary<History> {
  const { clients, minLength, maxLength, flightMs, fates } = run;
  const move: fc.Arbitrary<Move> = fc.record({
    kind: fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom<Move["kind"][]>("verify", "renew") },
      { weight: 1, arbitrary: fc.constantFrom<Move["kind"][]>("create", "revoke") },
    ),
    fate: fc.oneof(...FATES.map((fate) => ({ weight: fates[fate] ?? 0, arbitrary: fc.constant(fate) }))),
    secret: fc.nat(3),
    client: fc.nat(clients - 1),
    waitMs: fc.nat(2),
    earlyMs: fc.nat(flightMs),
    lateMs: fc.nat(flightMs),
  });
  return fc.array(move, { minLength, maxLength, size: "max" }).map((moves) => record(moves, run));
}

function record(moves: readonly Move[], { clients, guesses }: Run): History {
  const entries: Entry[] = [];
  const freeMs = Array.from({ length: clients }, () => 0);
  const secrets: string[] = [];
  let nowMs = 0;
  let token: Token;
  let before: Token;
  for (const move of moves) {
    nowMs = Math.max(nowMs + move.waitMs, Math.min(...freeMs));
    const operation = operationOf(move, token, `s${entries.length}`, secrets);
    const outcome = outcomeOf(move, operation, move.fate === "stale" ? before : token);
    if ("secret" in operation && operation.kind !== "verify" && (outcome.kind === "done" || guesses)) {
      secrets.push(operation.secret);
    }
    if (outcome.kind === "open") {
      // Whoever got no answer asks no more, and can be long gone when the server comes to it.
      const callMs = Math.max(0, nowMs - 10 * move.earlyMs);
      entries.push({ client: clients + entries.length, callMs, returnMs: callMs + move.lateMs, operation, outcome });
    } else {
      const free = freeMs.flatMap((ms, client) => (ms <= nowMs ? client : []));
      const client = free[move.client % free.length] ?? 0;
      const callMs = Math.max(freeMs[client] ?? 0, nowMs - move.earlyMs);
      const returnMs = nowMs + move.lateMs;
      freeMs[client] = returnMs;
      entries.push({ client, callMs, returnMs, operation, outcome });
    }
    const left = leftBy(move.fate, token, operation);
    if (left !== token) before = token;
    token = left;
  }
  return entries.sort((one, other) => one.callMs - other.callMs);
}

function operationOf({ kind, secret }: Move, token: Token, made: string, secrets: readonly string[]): Operation {
  if (kind === "revoke") return { kind };
  if (kind === "verify") return { kind, secret: secrets.at(-1 - secret) ?? "nobody's" };
  // Else most of a history would ask for a token that is not there.
  return { kind: kind === "renew" && !token && secret > 0 ? "create" : kind, secret: made };
}

function outcomeOf({ fate }: Move, operation: Operation, token: Token): Outcome {
  if (operation.kind !== "verify" && (fate === "answer lost" || fate === "never arrived")) return { kind: "open" };
  const { answer } = meet(token, operation);
  if (fate === "wrong generation" && "generation" in answer) return { ...answer, generation: answer.generation + 1 };
  return answer;
}

function leftBy(fate: Fate, token: Token, operation: Operation): Token {
  if (fate === "never arrived" || fate === "forgotten") return token;
  const { left } = meet(token, operation);
  return fate === "doubled" ? meet(left, operation).left : left;
}

/** Whether any order explains a history of few entries. A token is the list of its secrets here, the newest first. */
export function isLinearizable(rest: History, secrets?: readonly string[]): boolean {
  if (rest.every(({ outcome }) => outcome.kind === "open")) return true;
  return rest.some((entry) => {
    const others = rest.filter((other) => other !== entry);
    if (others.some(({ outcome, returnMs }) => outcome.kind !== "open" && returnMs < entry.callMs)) return false;
    const [isExplained, left] = explain(entry, secrets);
    return isExplained && isLinearizable(others, left);
  });
}

function explain(
  { operation, outcome }: Entry,
  secrets: readonly string[] | undefined,
): readonly [isExplained: boolean, left: readonly string[] | undefined] {
  const says = (kind: string, generation?: number) =>
    outcome.kind === "open" ||
    (("as" in outcome ? outcome.as : outcome.kind) === kind &&
      ("generation" in outcome ? outcome.generation : undefined) === generation);
  if (operation.kind === "verify") {
    const place = secrets?.indexOf(operation.secret) ?? -1;
    if (place === 0) return [says("current", secrets?.length), secrets];
    return [says(place === 1 ? "superseded" : "unknown"), secrets];
  }
  if (operation.kind === "create") return secrets ? [says("exists"), secrets] : [says("done", 1), [operation.secret]];
  if (!secrets) return [says("missing"), secrets];
  if (operation.kind === "revoke") return [says("done", secrets.length), undefined];
  return [says("done", secrets.length + 1), [operation.secret, ...secrets]];
}
