// Times as a client sees them: VerifyToken of many different tokens beside the floor, pages out of short and long lists, and
// how long the server takes to start.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ask } from "./check.js";
import type { Question } from "./contender.js";
import { type Fixture, verifyMany } from "./fixture.js";
import type { LatencyJob, LatencyResult } from "./latency-client.js";
import type { Loader } from "./load.js";
import { median } from "./measure.js";
import type { Plan } from "./plan.js";
import { OTHERS, pinned, run } from "./processes.js";
import { startApitokend, startBareHttp2, startFloor } from "./servers.js";

/** Of two targets. */
export interface Comparison {
  /** p50 of the second over that of the first, by pair of slices. */
  readonly ratios: readonly number[];
  /** In milliseconds, of each target in order: the median over the sets. */
  readonly p50: readonly number[];
  readonly p99: readonly number[];
}

export interface Times {
  /** VerifyToken against the floor. */
  readonly at1000: Comparison;
  readonly oneUnderWay: Comparison;
  /** What asks Redis and does nothing else, against the floor. */
  readonly readOneUnderWay: Comparison;
  /** A page out of the long list against one out of the short list. */
  readonly lists: Comparison;
  readonly startMs: number;
}

export async function measureTimes(
  fixture: Fixture,
  loader: Loader,
  folder: string,
  plan: Plan,
  report: (text: string) => void,
) {
  const { redis, identity, gateway, tokens, goodReply } = fixture;
  report("times: starting");
  const starts: number[] = [];
  for (let at = 0; at < plan.starts; at += 1) {
    const server = await startApitokend({ redis, identity });
    starts.push(server.startMs);
    await server.stop();
  }
  const many = verifyMany(gateway, tokens);
  const fixed = { ...many, isRight: (reply: Buffer) => reply.equals(goodReply) };
  const results: Readonly<Record<keyof Omit<Times, "startMs">, LatencyResult[]>> = {
    oneUnderWay: [],
    readOneUnderWay: [],
    at1000: [],
    lists: [],
  };
  for (let set = 1; set <= plan.sets; set += 1) {
    const floor = await startFloor("bytes", goodReply);
    const service = await startApitokend({ redis, identity });
    const reader = await startBareHttp2(goodReply, { redis, token: tokens[0] ?? "" });
    try {
      const below = { address: floor.address, question: fixed };
      const verification = [below, { address: service.address, question: many }];
      const lists = [fixture.shortList, fixture.longList].map((question) => ({ address: service.address, question }));
      report(`times, set ${set} of ${plan.sets}: warming up`);
      for (const { address } of [floor, service, reader]) {
        await loader.run(await fixture.good.load(address), address, { calls: plan.warmUpCalls });
      }
      const compare = async (title: string, targets: readonly Target[], callsPerSecond?: number) => {
        report(`times, set ${set} of ${plan.sets}: ${title}`);
        return timesOf(targets, { callsPerSecond, slices: plan.slices, sliceMs: plan.sliceMs }, folder);
      };
      results.oneUnderWay.push(await compare("one call under way", verification));
      const reading = [below, { address: reader.address, question: fixed }];
      results.readOneUnderWay.push(await compare("one read under way", reading));
      results.at1000.push(await compare("1,000 calls a second", verification, 1000));
      results.lists.push(await compare("pages of lists", lists));
    } finally {
      await floor.stop();
      await service.stop();
      await reader.stop();
    }
  }
  return {
    oneUnderWay: comparisonOf(results.oneUnderWay),
    readOneUnderWay: comparisonOf(results.readOneUnderWay),
    at1000: comparisonOf(results.at1000),
    lists: comparisonOf(results.lists),
    startMs: median(starts),
  } satisfies Times;
}

/** All sets together. */
function comparisonOf(sets: readonly LatencyResult[]): Comparison {
  const ofBoth = (percentile: "p50" | "p99") => [0, 1].map((at) => median(sets.map((set) => set[percentile][at] ?? 0)));
  const slices = sets.flatMap((set) => set.slices);
  return {
    ratios: slices.map(([below = 0, above = 0]) => above / below),
    p50: ofBoth("p50"),
    p99: ofBoth("p99"),
  };
}

interface Target {
  readonly address: string;
  readonly question: Question;
}

async function timesOf(
  targets: readonly Target[],
  slices: Omit<LatencyJob, "targets">,
  folder: string,
): Promise<LatencyResult> {
  const asked: LatencyJob["targets"][number][] = [];
  for (const { address, question } of targets) {
    const load = await question.load(address);
    if (load.kind === "http1") throw new Error("only gRPC calls are timed");
    if (!question.isRight(await ask(load, address))) throw new Error(`${load.path}: a wrong reply`);
    const file = join(folder, `times-${asked.length}`);
    writeFileSync(file, load.kind === "many" ? Buffer.concat(load.frames) : load.frame);
    asked.push({ address, path: load.path, headers: load.headers, file });
  }
  const job: LatencyJob = { ...slices, targets: asked };
  const command = [...pinned(OTHERS), process.execPath, join(import.meta.dirname, "latency-client.js")];
  const result = JSON.parse(await run([...command, JSON.stringify(job)])) as LatencyResult;
  const { failures } = result;
  if (failures.length > 0) throw new Error(`${failures.length} calls failed while timed, with status ${failures[0]}`);
  return result;
}
