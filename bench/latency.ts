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

export interface Comparison extends LatencyResult {
  /** p50 of the second target over that of the first: the median over all pairs of slices. */
  readonly ratio: number;
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
  const floor = await startFloor("bytes", goodReply);
  const service = await startApitokend({ redis, identity });
  const reader = await startBareHttp2(goodReply, { redis, token: tokens[0] ?? "" });
  try {
    const fixed = { ...many, isRight: (reply: Buffer) => reply.equals(goodReply) };
    const below = { address: floor.address, question: fixed };
    const verification = [below, { address: service.address, question: many }];
    report("times: warming up");
    for (const { address } of [floor, service, reader]) {
      await loader.run(await fixture.good.load(address), address, { calls: plan.warmUpCalls });
    }
    const lists = [fixture.shortList, fixture.longList].map((question) => ({ address: service.address, question }));
    const compare = async (title: string, targets: readonly Target[], callsPerSecond?: number) => {
      report(`times: ${title}`);
      return compareTimes(targets, { callsPerSecond, slices: plan.slices, sliceMs: plan.sliceMs }, folder);
    };
    return {
      oneUnderWay: await compare("one call under way", verification),
      readOneUnderWay: await compare("one read under way", [below, { address: reader.address, question: fixed }]),
      at1000: await compare("1,000 calls a second", verification, 1000),
      lists: await compare("pages of lists", lists),
      startMs: median(starts),
    } satisfies Times;
  } finally {
    await floor.stop();
    await service.stop();
    await reader.stop();
  }
}

interface Target {
  readonly address: string;
  readonly question: Question;
}

async function compareTimes(targets: readonly Target[], slices: Omit<LatencyJob, "targets">, folder: string) {
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
  return { ...result, ratio: median(result.slices.map(([below = 0, above = 0]) => above / below)) };
}
