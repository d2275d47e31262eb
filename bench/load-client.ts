// A load of many different messages, which h2load cannot send: so many calls under way at a time, for a time or up to a
// number. Run by load.ts with a LoadJob as JSON; prints a LoadResult. All that it has sent is answered and counted.
import { readFileSync } from "node:fs";
import { freshened, splitFrames } from "./frames.js";
import { GrpcConnection, type Method } from "./grpc-connection.js";

export interface LoadJob extends Method {
  /** A file with the frames to choose from. */
  readonly file: string;
  readonly connections: number;
  readonly underWay: number;
  readonly limit: { readonly ms: number } | { readonly calls: number };
}

export interface LoadResult {
  readonly calls: number;
  readonly bytes: number;
  /** Calls that did not end with status OK. */
  readonly failures: number;
}

const job = JSON.parse(process.argv[2] ?? "") as LoadJob;
const frames = splitFrames(readFileSync(job.file));
const connection = new GrpcConnection(job, job.connections);
const endMs = "ms" in job.limit ? performance.now() + job.limit.ms : Number.POSITIVE_INFINITY;
const mostCalls = "calls" in job.limit ? job.limit.calls : Number.POSITIVE_INFINITY;
let sent = 0;
const result = { calls: 0, bytes: 0, failures: 0 };

await Promise.all(Array.from({ length: job.underWay }, keepCalling));
connection.close();
process.stdout.write(JSON.stringify(result satisfies LoadResult));

async function keepCalling(): Promise<void> {
  while (sent < mostCalls && performance.now() < endMs) {
    sent += 1;
    const { status, bytes } = await connection.call(nextFrame());
    result.calls += 1;
    result.bytes += bytes;
    if (status !== 0) result.failures += 1;
  }
}

function nextFrame(): Buffer {
  return freshened(frames[Math.floor(Math.random() * frames.length)] ?? Buffer.alloc(0));
}
