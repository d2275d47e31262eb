// The search for an order of operations that explains their answers: Wing and Gong's, over a list of calls and returns,
// with Lowe's memory of where it has been. What it knows of tokens is only what `meet` and the prospects say.
import { type Entry, meet, outcomeText, type Token } from "./history.js";
import { Prospects } from "./prospects.js";
import { type Event, Timeline } from "./timeline.js";

export type Explanation =
  /** An order, and the token that it leaves. */
  | { readonly kind: "order"; readonly order: readonly Entry[]; readonly left: Token }
  /** There is no such order; but all that returned before this one can be explained. */
  | { readonly kind: "impossible"; readonly reached: Entry }
  | { readonly kind: "undecided" };

/**
 * An order that explains every answer, beginning without a token, or that there is none; undecided after so many `steps`.
 * Open operations are in the order only where they are of use.
 */
export function explain(events: readonly Event[], steps: number): Explanation {
  return new Search(events).run(steps);
}

/** A mutation that can come next, and the token that it leaves. */
interface Candidate {
  readonly event: Event;
  readonly left: Token;
}

/** A mutation in the order with the reads that follow it there, the token they met, and what else can come after them. */
interface Stage {
  readonly events: readonly Event[];
  readonly token: Token;
  readonly candidates: Candidate[];
}

/** What two ways to the same token through the same answered mutations can differ in. */
interface Way {
  readonly reads: bigint;
  /** How many open operations of each kind are in the order. */
  readonly spent: ReadonlyMap<string, number>;
}

class Search {
  private readonly timeline: Timeline;
  /** The order so far: all of it, its answered mutations as a set, its reads as a set, and its open operations. */
  private readonly order: Entry[] = [];
  private mutations = 0n;
  private reads = 0n;
  private readonly spent: Event[] = [];
  /** How many verifications of a secret are left. Of secrets without any it is the same to everybody who made them. */
  private readonly verifications = new Map<string, number>();
  private readonly visited = new Map<string, readonly Way[]>();

  constructor(events: readonly Event[]) {
    this.timeline = new Timeline(events);
    for (const event of events) this.countVerification(event, 1);
  }

  run(steps: number): Explanation {
    const path = [this.begin(undefined, undefined)];
    let reached: Entry | undefined;
    for (let step = 0; ; ) {
      const stage = path.at(-1);
      if (!stage) break;
      const due = this.timeline.firstReturned?.entry;
      if (!due) return { kind: "order", order: [...this.order], left: stage.token };
      if (!reached || due.returnMs > reached.returnMs) reached = due;
      const next = stage.candidates.shift();
      if (!next) {
        path.pop();
        for (const event of stage.events.toReversed()) this.putBack(event);
      } else if (step++ < steps) path.push(this.begin(next.event, next.left));
      else return { kind: "undecided" };
    }
    if (!reached) throw new Error("nothing was left to explain");
    return { kind: "impossible", reached };
  }

  private begin(mutation: Event | undefined, token: Token): Stage {
    const events = mutation ? [mutation] : [];
    if (mutation) this.take(mutation);
    // A read that this token explains may as well be next: later is no easier for it, and to the others it is all the same.
    for (const event of this.timeline.callable()) {
      const { answer, left } = meet(token, event.entry.operation);
      if (left !== token || outcomeText(answer) !== event.answer) continue;
      this.take(event);
      events.push(event);
    }
    const isWorthwhile = this.isNew(token) && !this.isDoomed(token, mutation?.isOpen !== false);
    return { events, token, candidates: isWorthwhile ? this.candidates(token) : [] };
  }

  /** The answered ones first, and of those that are alike only the most urgent: that one is always the better choice. */
  private candidates(token: Token): Candidate[] {
    const urgencyMs = ({ entry, isOpen }: Event) => (isOpen ? Number.POSITIVE_INFINITY : entry.returnMs);
    const byKind = new Map<string, Candidate>();
    for (const event of this.timeline.callable()) {
      const { answer, left } = meet(token, event.entry.operation);
      if (left === token || (event.outcome.kind !== "open" && outcomeText(answer) !== event.answer)) continue;
      const kind = `${event.isOpen} ${this.kindOf(event)}`;
      const rival = byKind.get(kind);
      if (!rival || urgencyMs(event) < urgencyMs(rival.event)) byKind.set(kind, { event, left });
    }
    return [...byKind.values()].sort((one, other) => urgencyMs(one.event) - urgencyMs(other.event) || 0);
  }

  /** Operations of one kind do the same, as far as anybody can tell. */
  private kindOf({ entry: { operation }, answer }: Event): string {
    return `${operation.kind} ${"secret" in operation ? this.visible(operation.secret) : ""} ${answer}`;
  }

  private visible(secret: string | undefined): string {
    return secret !== undefined && this.verifications.get(secret) ? secret : "";
  }

  /**
   * Whether no earlier way led here that had as many reads behind it and as few open operations: what is possible after this
   * one was possible after that.
   */
  private isNew(token: Token): boolean {
    const secrets = [this.visible(token?.current), this.visible(token?.previous)];
    const here = [this.mutations.toString(32), token?.generation, ...secrets].join("\0");
    const spent = new Map<string, number>();
    for (const event of this.spent) add(spent, this.kindOf(event), 1);
    const way = { reads: this.reads, spent };
    const others = this.visited.get(here) ?? [];
    if (others.some((other) => isAsGood(other, way))) return false;
    this.visited.set(here, [...others.filter((other) => !isAsGood(way, other)), way]);
    return true;
  }

  /**
   * Whether an answer that is left can no longer come true with what was called before it returned. To look beyond what is
   * under way now is worth its time only after an open operation was spent.
   */
  private isDoomed(token: Token, looksBeyond: boolean): boolean {
    const due = new Set<Event>();
    for (const event of this.timeline.callable()) if (!event.isOpen) due.add(event);
    const prospects = new Prospects(token);
    for (let moment = this.timeline.first; moment.event && (looksBeyond || due.size > 0); moment = moment.after) {
      if (!moment.isReturn) prospects.call(moment.event);
      else if (!prospects.allowReturn(moment.event)) return true;
      else if (due.delete(moment.event) && !prospects.allow(moment.event)) return true;
    }
    return false;
  }

  private take(event: Event): void {
    this.timeline.lift(event);
    this.order.push(event.entry);
    if (event.isOpen) this.spent.push(event);
    else this.toggle(event);
    this.countVerification(event, -1);
  }

  private putBack(event: Event): void {
    this.timeline.putBack(event);
    this.order.pop();
    if (event.isOpen) this.spent.pop();
    else this.toggle(event);
    this.countVerification(event, 1);
  }

  private toggle({ isRead, bit }: Event): void {
    if (isRead) this.reads ^= bit;
    else this.mutations ^= bit;
  }

  private countVerification({ entry: { operation } }: Event, change: 1 | -1): void {
    if (operation.kind === "verify") add(this.verifications, operation.secret, change);
  }
}

function isAsGood(one: Way, other: Way): boolean {
  return (
    (one.reads & other.reads) === other.reads &&
    [...one.spent].every(([kind, count]) => count <= (other.spent.get(kind) ?? 0))
  );
}

function add(counts: Map<string, number>, key: string, count: number): void {
  counts.set(key, (counts.get(key) ?? 0) + count);
}
