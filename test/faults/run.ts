// One run: clients at work, a fault, its end, and then everything that was told to clients held against what there is.
import { setTimeout as delay } from "node:timers/promises";
import type { Fault, Scene } from "./fault.js";
import { type Judgement, judge } from "./judgement.js";
import { Load } from "./load.js";
import { Probe, RECOVERY_LIMIT_MS } from "./probe.js";
import { Random } from "./random.js";
import { Recorder, type TokenName } from "./recorder.js";
import type { Stage } from "./stage.js";
import type { Topology } from "./topologies.js";

/** How much is done in a run. */
export interface Extent {
  readonly clients: number;
  /** How long a client rests between two calls, on average. */
  readonly restMs: number;
  /** How long the load is on before the fault strikes, by chance between these, and after the recovery, at least. */
  readonly beforeMs: readonly [number, number];
  readonly afterMs: number;
  /** The fault strikes when half of that many changes are acknowledged, and the load goes on until all are. */
  readonly acknowledged: number;
}

export interface RunResult extends Judgement {
  readonly seed: number;
  readonly fault: string;
  /** Whether losses are held against nobody. */
  readonly mayLose: boolean;
  /** Changes by what their clients know of them; refused are those that the service could not apply at that time. */
  readonly acknowledged: number;
  readonly refused: number;
  readonly unknown: number;
  /** Until a change and a verification succeeded again for clients of each service; undefined where there was no outage. */
  readonly recoverySeconds: number | undefined;
  /** Whether that was later than promised. */
  readonly isLate: boolean;
  /** The call that took longest until it was answered or failed; undefined where it was not looked at. */
  readonly slowestMs: number | undefined;
}

export interface RunOptions {
  readonly seed: number;
  readonly extent: Extent;
  /** Told of the run's state several times a second. */
  readonly progress: (state: { readonly acknowledged: number }) => void;
}

/** For so long before the fault strikes, and after, the clients do not rest: as much as possible is then under way. */
const RUSH_MS = 150;
const LOAD_LIMIT_MS = 60_000;
/** Until the last change whose outcome is open can no longer be applied: its not-after time has passed. */
const SETTLE_MS = 800;

/** Runs the fault once. Rejects when the run itself cannot be carried out. */
export async function run<T extends Topology>(
  stage: Stage<T>,
  fault: Fault<T>,
  options: RunOptions,
): Promise<RunResult> {
  const { seed } = options;
  const { topology, services } = stage;
  const recorder = new Recorder();
  await topology.healed();
  const tokens = await stage.tokenNames(seed);
  const { organizationId } = tokens[0];
  const probes = await Promise.all(
    Array.from({ length: services.count }, (_, at) => Probe.open(recorder, at, services.target(at), organizationId)),
  );
  const place = await stage.place(organizationId);
  const complaints: string[] = [];
  const complain = (text: string) => complaints.push(text);
  const scene: Scene<T> = { topology, services, random: new Random(seed, -1), recorder, ...place, complain };
  const recoverySeconds = await underLoad(scene, tokens, options, () => strikeAndRecover(fault, scene, probes));
  if (recoverySeconds === Number.POSITIVE_INFINITY) complain("the service did not recover");

  await topology.healed();
  await settle(recorder);
  for (const probe of probes) probe.close();
  const names = [...tokens, ...probes.map(({ token }) => token)];
  const judgement = await judge(stage, recorder, names);
  return {
    seed,
    fault: fault.name,
    ...counts(recorder),
    ...judgement,
    complaints: [...complaints, ...judgement.complaints],
    mayLose: fault.mayLose === true,
    recoverySeconds,
    isLate: recoverySeconds > fault.recoversWithinS,
    slowestMs: recorder.slowestMs,
  };
}

/** Has clients at work before, while and after it acts. */
async function underLoad<Result>(
  { services, random, recorder }: Scene,
  tokens: readonly TokenName[],
  { seed, extent, progress }: RunOptions,
  act: () => Promise<Result>,
): Promise<Result> {
  const targets = Array.from({ length: extent.clients }, (_, at) => services.target(at));
  const load = new Load({ recorder, seed, tokens, targets, restMs: extent.restMs });
  const beforeLimitMs = performance.now() + LOAD_LIMIT_MS;
  const shown = setInterval(() => progress(recorder), 200);
  try {
    await delay(random.between(...extent.beforeMs));
    // On a machine that is slow, too, there is something to lose.
    while (recorder.acknowledged < extent.acknowledged / 2 && performance.now() < beforeLimitMs) await delay(20);
    load.isRushing = true;
    await delay(RUSH_MS);
    setTimeout(() => {
      load.isRushing = false;
    }, RUSH_MS);
    const result = await act();
    const afterLimitMs = performance.now() + LOAD_LIMIT_MS;
    await delay(extent.afterMs);
    while (recorder.acknowledged < extent.acknowledged && performance.now() < afterLimitMs) await delay(20);
    return result;
  } finally {
    await load.stop();
    clearInterval(shown);
  }
}

/** Resolves with the seconds that the recovery took, Infinity when it took too long. */
async function strikeAndRecover<T extends Topology>(
  fault: Fault<T>,
  scene: Scene<T>,
  probes: readonly Probe[],
): Promise<number> {
  const recovered = async (sinceMs: number) => {
    const times = await Promise.all(probes.map((probe) => probe.firstSuccessMs(sinceMs + RECOVERY_LIMIT_MS)));
    return (Math.max(...times) - sinceMs) / 1000;
  };
  const struckMs = performance.now();
  const heal = await fault.strike(scene);
  if (fault.recoversFrom === "heal") {
    await heal();
    return recovered(performance.now());
  }
  const seconds = await recovered(struckMs);
  await heal();
  return seconds;
}

async function settle({ mutations }: Recorder): Promise<void> {
  const open = mutations.filter(({ outcome }) => outcome.kind === "open").map(({ returnMs }) => returnMs);
  const waitMs = Math.max(0, ...open) + SETTLE_MS - performance.now();
  if (open.length > 0 && waitMs > 0) await delay(waitMs);
}

function counts({ mutations }: Recorder) {
  const count = (kind: string) => mutations.filter(({ outcome }) => outcome.kind === kind).length;
  return { acknowledged: count("acknowledged"), refused: count("unapplied"), unknown: count("open") };
}
