// The parts of the bench in their order. Each gives rows of the report, and what they come from.

import type { Group } from "./contender.js";
import { comparisons, rivalGroup, sizes } from "./contenders.js";
import { createFixture } from "./fixture.js";
import type { Part, Row } from "./goals.js";
import { findH2load } from "./h2load.js";
import { measureTimes } from "./latency.js";
import { Loader } from "./load.js";
import { measureGroup } from "./measure.js";
import type { Plan } from "./plan.js";
import { populate } from "./population.js";
import { report, tell } from "./progress.js";
import { installRivals } from "./rivals.js";
import { rowsOfGroup, rowsOfMemory, rowsOfTimes } from "./rows.js";
import { type BenchRedis, type Identity, startBenchRedis } from "./servers.js";

export interface Surroundings {
  readonly redis: BenchRedis;
  readonly identity: Identity;
  /** For what the load generators read. */
  readonly folder: string;
  readonly plan: Plan;
  /** Whether the part of that name is to run. */
  readonly isWanted: (part: Part) => boolean;
}

export interface Outcome {
  readonly rows: readonly PartRow[];
  /** By part: CPU nanoseconds an answer of each contender and window, times of slices. */
  readonly raw: Readonly<Record<string, unknown>>;
  readonly versions: string;
  /** Parts that could not be measured, with why: a wrong reply, a failed call. */
  readonly failures: readonly string[];
}

export type PartRow = Row & { readonly part: Part };

const FEW_THOUSANDS = 1;

/** Rejects when not even the preparations succeed. */
export async function measureParts({ redis, identity, folder, plan, isWanted }: Surroundings): Promise<Outcome> {
  report("preparing");
  const rows: PartRow[] = [];
  const raw: Record<string, unknown> = {};
  const failures: string[] = [];
  const add = (part: Part, found: readonly Row[]) => rows.push(...found.map((row) => ({ ...row, part })));
  const attempt = async (part: Part, work: () => Promise<void>) => {
    if (!isWanted(part)) return;
    await work().catch((error: unknown) => {
      failures.push(`${part}: ${error instanceof Error ? error.message : String(error)}`);
    });
  };
  const h2load = await findH2load(tell);
  const loader = h2load && new Loader(h2load, folder);
  const fixture = await createFixture(redis, identity, plan);
  const compare = async (group: Group) => {
    if (loader === undefined) return;
    const windows = await measureGroup(group, loader, plan, report);
    add(group.name, rowsOfGroup(group, windows, plan.isQuick));
    raw[group.name] = Object.fromEntries(windows);
  };
  for (const group of comparisons(fixture)) await attempt(group.name, () => compare(group));
  await attempt("rivals", async () => {
    report("rivals: installing");
    const rivals = await installRivals(tell).catch((error: unknown) =>
      tell(`The rivals are left out: ${String(error)}`),
    );
    if (rivals !== undefined) await compare(rivalGroup(fixture, rivals));
  });
  await attempt(isWanted("size") ? "size" : "memory", async () => {
    const many = await startBenchRedis();
    const few = await startBenchRedis();
    try {
      const population = await populate(many, plan.populationThousands, (done) => report(`size: ${done} tokens`));
      add("memory", rowsOfMemory(population));
      if (!isWanted("size")) return;
      const { samples, tokens } = await populate(few, FEW_THOUSANDS, () => {});
      const title = (count: number) => `VerifyToken of any of ${count.toLocaleString("en")} tokens, with its Redis`;
      await compare(
        sizes(fixture, [
          { id: "verify-few", redis: few, tokens: samples, title: title(tokens) },
          { id: "verify-many", redis: many, tokens: population.samples, title: title(population.tokens) },
        ]),
      );
    } finally {
      await many.stop();
      await few.stop();
    }
  });
  await attempt("times", async () => {
    if (loader === undefined) return;
    const times = await measureTimes(fixture, loader, folder, plan, report);
    add("times", rowsOfTimes(times));
    raw["times"] = times;
  });
  return { rows, raw, failures, versions: `Redis ${fixture.redisVersion}, ${h2load?.version ?? "no h2load"}` };
}
