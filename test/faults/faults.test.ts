// The short form of `npm run faults`: each fault once, with little load. All kinds of Redis are put through theirs at the
// same time, for most of it is waiting. And a Redis that keeps nothing shows that a loss would be found.
import { randomInt } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { CUTS, cutReplies } from "./cut-replies.js";
import type { Setup } from "./fault.js";
import { sigkill } from "./faults-of-redis.js";
import { faultsOf } from "./report.js";
import { type Extent, type RunResult, run } from "./run.js";
import { always, cluster, everysec, proxied, SETUPS, sentinel, smallDisk } from "./setups.js";
import { Stage } from "./stage.js";
import { startStandalone } from "./standalone.js";

const LIMIT_MS = 150_000;
const SHORT: Extent = { clients: 16, restMs: 40, beforeMs: [100, 250], afterMs: 100, acknowledged: 40 };
const CUT_REPLIES = 5;
const seed = randomInt(2 ** 30);
const options = { seed, extent: SHORT, progress: () => {} };

/** The runs of one setup, one after the other. */
interface Lane {
  readonly runs: ReadonlyMap<string, Promise<RunResult>>;
  /** What was changed after its run had ended. */
  readonly changed: Promise<readonly string[]>;
  readonly closed: Promise<void>;
}

function faultNames({ faults }: Setup): string[] {
  return faults.filter(({ isSlow }) => !isSlow).map(({ name }) => name);
}

/** Begins when `before` has ended. */
function startLane(setup: Setup, before: Promise<unknown>): Lane {
  const opened = before.then(() => openOneByOne(setup));
  let last: Promise<unknown> = opened;
  const next = <Result>(act: (stage: Stage) => Promise<Result>): Promise<Result> => {
    // After a failure, too; the test that awaits it tells.
    const result = last.catch(() => {}).then(async () => act(await opened));
    result.catch(() => {});
    last = result;
    return result;
  };
  const faults = setup.faults.filter(({ isSlow }) => !isSlow);
  const runs = new Map(
    faults.map((fault, at) => [fault.name, next((stage) => run(stage, fault, { ...options, seed: seed + at }))]),
  );
  return { runs, changed: next((stage) => stage.changed()), closed: next((stage) => stage.close()) };
}

/** To start servers takes all that a small machine has. */
let opening: Promise<unknown> = Promise.resolve();
function openOneByOne(setup: Setup): Promise<Stage> {
  const stage = opening.then(() => Stage.open(setup));
  opening = stage.catch(() => {});
  return stage;
}

/** Those of one list are put through their faults one after the other, the lists at the same time. */
const SIDE_BY_SIDE: readonly (readonly Setup[])[] = [[cluster, always], [sentinel, smallDisk], [everysec], [proxied]];

const missing = new Map<Setup, string>();
for (const setup of SETUPS) {
  const reason = await setup.missing?.();
  if (reason !== undefined) missing.set(setup, reason);
}
const lanes = new Map<Setup, Lane>();
beforeAll(() => {
  for (const setups of SIDE_BY_SIDE) {
    let before: Promise<unknown> = Promise.resolve();
    for (const setup of setups.filter((candidate) => !missing.has(candidate))) {
      const lane = startLane(setup, before);
      lanes.set(setup, lane);
      before = lane.closed.catch(() => {});
    }
  }
});
afterAll(async () => {
  await Promise.allSettled(Array.from(lanes.values(), ({ closed }) => closed));
}, LIMIT_MS);

for (const setup of SETUPS) {
  const reason = missing.get(setup);
  const there = reason === undefined ? describe : describe.skip;
  there(`${setup.title}${reason === undefined ? "" : `: skipped, ${reason}`}`, () => {
    test.each(faultNames(setup))(
      `%s: nothing acknowledged is lost, doubled or undone (seed ${seed})`,
      async (name) => {
        const result = await lanes.get(setup)?.runs.get(name);
        expect(result && faultsOf(result)).toEqual([]);
        expect(result?.acknowledged).toBeGreaterThanOrEqual(SHORT.acknowledged);
      },
      LIMIT_MS,
    );

    test(
      "what a run has left stays as it is",
      async () => {
        expect(await lanes.get(setup)?.changed).toEqual([]);
      },
      LIMIT_MS,
    );
  });
}

test.each(CUTS)(
  "a renewal whose reply is cut %s happens once, and asking again gives the identical token",
  async (place) => {
    const result = await cutReplies(place, { ...options, count: CUT_REPLIES });
    expect(faultsOf(result)).toEqual([]);
    expect(result.acknowledged).toBe(CUT_REPLIES);
  },
  LIMIT_MS,
);

test(
  "losses are found where Redis keeps nothing on disk and is killed",
  async () => {
    const stage = await Stage.open({
      title: "volatile",
      faults: [],
      env: { ALLOW_VOLATILE_REDIS: "1" },
      start: () => startStandalone({ settings: { appendonly: "no" } }),
    });
    try {
      const { lost, violations, broken } = await run(stage, sigkill("always"), options);
      expect(lost.length).toBeGreaterThan(0);
      expect(violations.length).toBeGreaterThan(0);
      expect(broken.join("\n")).toMatch(/no event: /);
    } finally {
      await stage.close();
    }
  },
  LIMIT_MS,
);
