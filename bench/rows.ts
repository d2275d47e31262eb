// From what was measured to the rows of the report.
import { FLOOR, FLOOR_AGAIN, type Group } from "./contender.js";
import {
  AA_GOAL,
  AT_1000_GOAL,
  FLOOR_GOALS,
  LIST_GOAL,
  MEMORY_GOAL,
  ONE_UNDER_WAY_GOAL,
  PAIR_GOALS,
  type Row,
  START_GOAL,
  verdictOf,
} from "./goals.js";
import type { Comparison, Times } from "./latency.js";
import { median, ratios, ratiosToFloor, type Windows } from "./measure.js";
import type { Population } from "./population.js";

const DISCARDED = "discarded: the no-op is not like itself";

/** Those of one group; all but the first are discarded when the two processes of the floor differ. */
export function rowsOfGroup(group: Group, windows: Windows, isQuick: boolean): Row[] {
  const what = `no-op against the same no-op (${group.name})`;
  const twice = { ...ratioRow(what, ratios(windows, FLOOR_AGAIN, FLOOR), "ratio"), goal: AA_GOAL };
  const others = group.contenders.filter(({ id }) => id !== FLOOR && id !== FLOOR_AGAIN);
  const compared = [
    ...others.map(({ id, title }) => ({
      ...ratioRow(title, ratiosToFloor(windows, id), "floor"),
      goal: FLOOR_GOALS[id],
    })),
    ...PAIR_GOALS.filter(({ above, below }) => windows.has(above) && windows.has(below)).map(
      ({ above, below, what, goal }) => ({ ...ratioRow(what, ratios(windows, above, below), "ratio"), goal }),
    ),
  ];
  const isSound = isQuick || verdictOf(twice) === "met";
  return [twice, ...(isSound ? compared : compared.map(discarded))];
}

function ratioRow(what: string, values: readonly number[], unit: "floor" | "ratio"): Row {
  const sorted = values.toSorted((a, b) => a - b);
  const quarter = (share: number) => sorted[Math.round((sorted.length - 1) * share)] ?? Number.NaN;
  return { what, number: median(values), unit, spread: [quarter(0.25), quarter(0.75)] };
}

function discarded(row: Row): Row {
  const { what, unit, goal, number = Number.NaN } = row;
  return { what, unit, goal, number: undefined, note: `${DISCARDED} (it read ${number.toFixed(2)})` };
}

export function rowsOfTimes({ at1000, oneUnderWay, readOneUnderWay, lists, startMs }: Times): Row[] {
  return [
    timeRow("p50 of VerifyToken at 1,000 a second, against the no-op", at1000, AT_1000_GOAL),
    timeRow("p50 of VerifyToken with one under way, against the no-op", oneUnderWay, ONE_UNDER_WAY_GOAL),
    timeRow(
      "p50 of a no-op that reads the token from Redis, with one under way, against the no-op",
      readOneUnderWay,
      undefined,
    ),
    timeRow("p50 of a page out of the long list, against the short", lists, LIST_GOAL),
    { what: "from the start of the process to listening", number: startMs, unit: "ms", goal: START_GOAL },
  ];
}

function timeRow(what: string, { p50, p99, ratios: values }: Comparison, goal: Row["goal"]): Row {
  const [below = 0, above = 0] = p50;
  const [belowP99 = 0, aboveP99 = 0] = p99;
  const both = (one: number, other: number) => `${one.toFixed(2)} ms against ${other.toFixed(2)} ms`;
  const note = `p50 ${both(above, below)}, p99 ${both(aboveP99, belowP99)}`;
  return { ...ratioRow(what, values, "ratio"), goal, note };
}

export function rowsOfMemory({ bytesPerToken, tokens, seconds }: Population): Row[] {
  const what = `Redis memory a token, of ${tokens.toLocaleString("en")} (all keys but the events)`;
  const note = `loaded in ${seconds.toFixed(0)} s`;
  return [{ what, number: bytesPerToken, unit: "bytes", goal: MEMORY_GOAL, note }];
}
