// How long calls take, as a client sees it: slices of time that alternate between targets, at a fixed rate or with one call
// under way. An open loop: a call goes out when its time has come, whether or not earlier ones were answered. Run by
// latency.ts with a LatencyJob as JSON; prints a LatencyResult.
import { readFileSync } from "node:fs";
import { splitFrames } from "./frames.js";
import { GrpcConnection, type Method } from "./grpc-connection.js";

export interface LatencyJob {
  readonly targets: readonly (Method & { readonly file: string })[];
  /** undefined = the next call goes out when the last one is answered. */
  readonly callsPerSecond: number | undefined;
  readonly slices: number;
  readonly sliceMs: number;
}

/** In milliseconds, of each target in order. */
export interface LatencyResult {
  readonly calls: readonly number[];
  /** Statuses other than OK. */
  readonly failures: readonly number[];
  readonly p50: readonly number[];
  readonly p99: readonly number[];
  /** By slice, p50 of each target. */
  readonly slices: readonly (readonly number[])[];
  /** By how much calls went out after their time, p99: our own fault, and not counted. */
  readonly lateP99: number;
}

const WARM_UP_MS = 1000;
const CONNECTIONS = 4;

const job = JSON.parse(process.argv[2] ?? "") as LatencyJob;
const failures: number[] = [];
const lateMs: number[] = [];
const targets = job.targets.map((target) => {
  const frames = splitFrames(readFileSync(target.file));
  return { connection: new GrpcConnection(target, CONNECTIONS), frames, all: [] as number[] };
});
type Target = (typeof targets)[number];

for (const target of targets) await slice(target, WARM_UP_MS);
const slices: number[][] = [];
for (let at = 0; at < job.slices; at += 1) {
  const p50s = new Array<number>(targets.length).fill(0);
  // Each target goes first as often as the others.
  for (let turn = 0; turn < targets.length; turn += 1) {
    const chosen = (at + turn) % targets.length;
    const target = targets[chosen];
    if (target === undefined) continue;
    const times = await slice(target, job.sliceMs);
    target.all.push(...times);
    p50s[chosen] = percentile(times, 50);
  }
  slices.push(p50s);
}
for (const { connection } of targets) connection.close();
process.stdout.write(
  JSON.stringify({
    calls: targets.map(({ all }) => all.length),
    failures,
    p50: targets.map(({ all }) => percentile(all, 50)),
    p99: targets.map(({ all }) => percentile(all, 99)),
    slices,
    lateP99: percentile(lateMs, 99),
  } satisfies LatencyResult),
);

function slice(target: Target, ms: number): Promise<number[]> {
  return job.callsPerSecond === undefined ? oneAtATime(target, ms) : atRate(target, ms, job.callsPerSecond);
}

async function oneAtATime(target: Target, ms: number): Promise<number[]> {
  const times: number[] = [];
  for (const endMs = performance.now() + ms; performance.now() < endMs; ) times.push(await timedCall(target));
  return times;
}

async function atRate(target: Target, ms: number, callsPerSecond: number): Promise<number[]> {
  const startMs = performance.now();
  const count = Math.round((ms / 1000) * callsPerSecond);
  const answers: Promise<number>[] = [];
  while (answers.length < count) {
    const nowMs = performance.now();
    for (;;) {
      const dueMs = startMs + (answers.length * 1000) / callsPerSecond;
      if (dueMs > nowMs || answers.length === count) break;
      lateMs.push(nowMs - dueMs);
      answers.push(timedCall(target));
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return Promise.all(answers);
}

async function timedCall({ connection, frames }: Target): Promise<number> {
  const frame = frames[Math.floor(Math.random() * frames.length)] ?? Buffer.alloc(0);
  const startMs = performance.now();
  const { status } = await connection.call(frame);
  if (status !== 0) failures.push(status);
  return performance.now() - startMs;
}

function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))] ?? 0;
}
