// CPU time per call of servers that run side by side. All of a group are saturated at the same time on one core, each by a
// load of its own, so that whatever the machine does to one it does to all: only their ratios within a window mean
// something.
import { ask, checkBytes } from "./check.js";
import { type Contender, FLOOR, FLOOR_AGAIN, type Group, type Running } from "./contender.js";
import type { Load, Loader } from "./load.js";
import type { Plan } from "./plan.js";
import { cpuNs } from "./processes.js";

/** CPU nanoseconds per answer, by contender and window; infinite where there was no answer. */
export type Windows = ReadonlyMap<string, readonly number[]>;

interface Entrant {
  readonly contender: Contender;
  readonly server: Running;
  readonly load: Load;
  /** The right reply. */
  readonly reply: Buffer;
}

export async function measureGroup(group: Group, loader: Loader, plan: Plan, report: (text: string) => void) {
  const windows = new Map<string, number[]>(group.contenders.map(({ id }) => [id, []]));
  for (let set = 1; set <= plan.sets; set += 1) {
    const say = (text: string) => report(`${group.name}: processes ${set} of ${plan.sets}, ${text}`);
    say("starting");
    const entrants: Entrant[] = [];
    try {
      for (const contender of group.contenders) entrants.push(await enter(contender));
      say("warming up");
      await runAll(entrants, loader, { calls: plan.warmUpCalls });
      for (let window = 1; window <= plan.windows; window += 1) {
        say(`window ${window} of ${plan.windows}`);
        const results = await runAll(entrants, loader, { ms: plan.windowMs });
        for (const [id, nsPerAnswer] of results) windows.get(id)?.push(nsPerAnswer);
      }
    } finally {
      await Promise.all(entrants.map(({ server }) => server.stop()));
    }
  }
  return windows as Windows;
}

async function enter(contender: Contender): Promise<Entrant> {
  const server = await contender.start();
  try {
    const load = await contender.load(server.address);
    const reply = await ask(load, server.address);
    if (!contender.isRight(reply)) throw new Error("the reply is wrong");
    return { contender, server, load, reply };
  } catch (error) {
    await server.stop();
    throw new Error(`${contender.title}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function runAll(entrants: readonly Entrant[], loader: Loader, limit: Parameters<Loader["run"]>[2]) {
  return Promise.all(
    entrants.map(async ({ contender, server, load, reply }): Promise<readonly [id: string, nsPerAnswer: number]> => {
      const pids = [server.pid, ...(contender.pidsBeside ?? [])];
      const usedNs = () => pids.reduce((sum, pid) => sum + cpuNs(pid), 0);
      const beforeNs = usedNs();
      const total = await loader.run(load, server.address, limit);
      const spentNs = usedNs() - beforeNs;
      checkBytes(contender.title, load, reply, total);
      return [contender.id, spentNs / total.calls / (contender.answersPerCall ?? 1)];
    }),
  );
}

/** CPU time of one over that of another, window by window. */
export function ratios(windows: Windows, above: string, below: string): number[] {
  const costs = windows.get(below) ?? [];
  return (windows.get(above) ?? []).map((ns, at) => ns / (costs[at] ?? Number.NaN));
}

/** How much a contender gives for what the floor's answer costs; the floor is the mean of its two processes. */
export function ratiosToFloor(windows: Windows, id: string): number[] {
  const again = windows.get(FLOOR_AGAIN) ?? [];
  const floor = (windows.get(FLOOR) ?? []).map((ns, at) => (ns + (again[at] ?? ns)) / 2);
  return (windows.get(id) ?? []).map((ns, at) => (floor[at] ?? Number.NaN) / ns);
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}
