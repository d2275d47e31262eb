// The calls and returns of a history in the order of time, as a ring from which operations are lifted and put back in a
// few steps: what the search for an explanation walks along.
import type { Entry, Outcome } from "./history.js";

/** An operation of a history. */
export interface Event {
  readonly entry: Entry;
  /** What it was answered, or must have been. */
  readonly outcome: Outcome;
  /** The same in words, to compare. */
  readonly answer: string;
  /** Whether it may also not have happened. */
  readonly isOpen: boolean;
  readonly isRead: boolean;
  /** This operation alone, as a set. */
  readonly bit: bigint;
}

/** A call or a return between its neighbours. */
export class Moment {
  /** Undefined at the end of time. */
  readonly event: Event | undefined;
  readonly isReturn: boolean;
  readonly ms: number;
  before: Moment = this;
  after: Moment = this;

  constructor(event: Event | undefined, isReturn: boolean, ms: number) {
    this.event = event;
    this.isReturn = isReturn;
    this.ms = ms;
  }
}

/** Calls of all events, and returns of those that are not open. A call and a return in one millisecond: the call is first. */
export class Timeline {
  private readonly end = new Moment(undefined, true, Number.POSITIVE_INFINITY);
  private readonly momentsOf = new Map<Event, readonly Moment[]>();

  constructor(events: readonly Event[]) {
    for (const event of events) {
      const { callMs, returnMs } = event.entry;
      const call = new Moment(event, false, callMs);
      this.momentsOf.set(event, event.isOpen ? [call] : [call, new Moment(event, true, returnMs)]);
    }
    const moments = [...this.momentsOf.values()].flat();
    moments.sort((one, other) => one.ms - other.ms || Number(one.isReturn) - Number(other.isReturn));
    for (const moment of moments) {
      moment.before = this.end.before;
      moment.after = this.end;
      insert(moment);
    }
  }

  get first(): Moment {
    return this.end.after;
  }

  /** What was called before the first return, by the time of call. Each may be lifted when it has been given. */
  *callable(): Iterable<Event> {
    for (let moment = this.first; moment.event && !moment.isReturn; moment = moment.after) yield moment.event;
  }

  /** The first to return; undefined when only open operations are left. */
  get firstReturned(): Event | undefined {
    let moment = this.first;
    while (!moment.isReturn) moment = moment.after;
    return moment.event;
  }

  lift(event: Event): void {
    // The call last, so that it still knows what comes after both.
    for (const moment of (this.momentsOf.get(event) ?? []).toReversed()) {
      moment.before.after = moment.after;
      moment.after.before = moment.before;
    }
  }

  /** Undoes the latest `lift` that is not yet undone. */
  putBack(event: Event): void {
    for (const moment of this.momentsOf.get(event) ?? []) insert(moment);
  }
}

function insert(moment: Moment): void {
  moment.before.after = moment;
  moment.after.before = moment;
}
