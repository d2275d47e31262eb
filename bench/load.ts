// Puts a server under load for a while, from the other core: by h2load where every call may be the same, by our own client
// where it may not. What is asked is checked beforehand (check.ts), for h2load takes any HTTP 200 for a success.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { H2load } from "./h2load.js";
import type { LoadJob, LoadResult } from "./load-client.js";
import { OTHERS, pinned, run } from "./processes.js";

interface Asked {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Calls under way at a time, over all connections. */
  readonly underWay: number;
}

/** The same gRPC call again and again. */
export interface SameCall extends Asked {
  readonly kind: "same";
  /** The frame of its message. */
  readonly frame: Buffer;
}

/** One of many gRPC calls each time. */
export interface ManyCalls extends Asked {
  readonly kind: "many";
  readonly frames: readonly Buffer[];
}

/** The same POST over HTTP/1.1, one call at a time on each connection. */
export interface Http1Call extends Asked {
  readonly kind: "http1";
  readonly body: Buffer;
}

export type Load = SameCall | ManyCalls | Http1Call;
export type Limit = { readonly ms: number } | { readonly calls: number };

export const GRPC_HEADERS = { "content-type": "application/grpc", te: "trailers" };
const CONNECTIONS = 4;

export class Loader {
  readonly #h2load: H2load;
  readonly #folder: string;
  readonly #files = new Map<Load, string>();

  /** `folder`: where the messages are laid down for the load generators. */
  constructor(h2load: H2load, folder: string) {
    this.#h2load = h2load;
    this.#folder = folder;
  }

  /** Resolves with the calls that were answered; rejects when any of them failed. */
  async run(load: Load, address: string, limit: Limit): Promise<{ calls: number; bytes: number }> {
    if (load.kind === "many") return this.#runOwn(load, address, limit);
    const connections = load.kind === "http1" ? load.underWay : Math.min(CONNECTIONS, load.underWay);
    const settings = {
      c: connections,
      m: Math.ceil(load.underWay / connections),
      t: 1,
      d: this.#fileOf(load),
      ...("ms" in limit ? { D: Math.round(limit.ms / 1000) } : { n: limit.calls }),
    };
    const headers = load.kind === "http1" ? load.headers : { ...GRPC_HEADERS, ...load.headers };
    const printed = await run(
      [
        ...pinned(OTHERS),
        ...this.#h2load.command,
        ...(load.kind === "http1" ? ["--h1"] : []),
        ...Object.entries(settings).flatMap(([name, value]) => [`-${name}`, String(value)]),
        ...Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]),
        `http://${address}${load.path}`,
      ],
      { env: this.#h2load.env },
    );
    return readCounts(printed);
  }

  async #runOwn(load: ManyCalls, address: string, limit: Limit): Promise<{ calls: number; bytes: number }> {
    const { path, headers, underWay } = load;
    const job: LoadJob = {
      address,
      path,
      headers,
      underWay,
      connections: CONNECTIONS,
      file: this.#fileOf(load),
      limit,
    };
    const command = [...pinned(OTHERS), process.execPath, join(import.meta.dirname, "load-client.js")];
    const result = JSON.parse(await run([...command, JSON.stringify(job)])) as LoadResult;
    if (result.failures > 0) throw new Error(`${result.failures} of ${result.calls} calls of ${path} failed`);
    return result;
  }

  #fileOf(load: Load): string {
    const known = this.#files.get(load);
    if (known !== undefined) return known;
    const file = join(this.#folder, `messages-${this.#files.size}`);
    writeFileSync(file, bytesOf(load));
    this.#files.set(load, file);
    return file;
  }
}

function bytesOf(load: Load): Buffer {
  if (load.kind === "many") return Buffer.concat(load.frames);
  return load.kind === "same" ? load.frame : load.body;
}

/**
 * Calls count as answered when their headers have come: the end of a window cuts some off behind them. There may be none: a
 * server can be busy with itself for a whole window.
 */
function readCounts(printed: string): { calls: number; bytes: number } {
  const [, failed, errored] = /(\d+) failed, (\d+) errored/.exec(printed)?.map(Number) ?? [];
  const [, calls = 0] = /status codes: (\d+) 2xx/.exec(printed)?.map(Number) ?? [];
  const [, bytes] = /\((\d+)\) data/.exec(printed)?.map(Number) ?? [];
  if (bytes === undefined || failed !== 0 || errored !== 0)
    throw new Error(`h2load did not succeed:\n${printed.slice(-1000)}`);
  return { calls, bytes };
}
