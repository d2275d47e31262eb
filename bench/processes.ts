// Processes of the bench: each on one core, ended when the bench ends, and asked what CPU time they have used. It must not
// know what they do.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { createInterface } from "node:readline";

const ROOT = resolve(import.meta.dirname, "../..");
/** As `npm start` runs the server; the same for all that are compared with it. */
export const NODE_FLAGS = ["--enable-source-maps"];
const START_LIMIT_MS = 60_000;

/** Servers have the first core to themselves; what asks them, and Redis, share the second. */
export const SERVERS = "0";
export const OTHERS = availableParallelism() > 1 ? "1" : "0";
export const BOTH = availableParallelism() > 1 ? "0,1" : "0";

const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** The beginning of a command line that runs a program on these cores. */
export function pinned(cores: string): string[] {
  return ["taskset", "-c", cores];
}

/** Moves a process that runs already, with all its threads. */
export function pin(pid: number, cores: string): void {
  execFileSync("taskset", ["-a", "-c", "-p", cores, String(pid)], { stdio: "ignore" });
}

/** Sees to it that the process ends with the bench. */
export function endWithUs(child: ChildProcess): void {
  running.add(child);
  child.on("close", () => running.delete(child));
}

export interface Listening {
  readonly pid: number;
  readonly address: string;
  stop(): Promise<void>;
}

/** Starts a program of ours, or `script` anywhere else, that prints `listens on <host:port>`. */
export async function startListening(
  script: string,
  args: readonly string[],
  { cores = SERVERS, cwd = ROOT, env = {} }: { cores?: string; cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Listening> {
  const [program = "", ...before] = pinned(cores);
  const child = spawn(program, [...before, process.execPath, ...NODE_FLAGS, script, ...args], {
    cwd,
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  endWithUs(child);
  let printed = "";
  const closed = new Promise<void>((done) => child.on("close", () => done()));
  const address = await new Promise<string>((found, failed) => {
    const fail = () => failed(new Error(`${script} does not listen:\n${printed.slice(-2000)}`));
    const timer = setTimeout(fail, START_LIMIT_MS);
    child.on("close", fail);
    for (const output of [child.stdout, child.stderr]) {
      createInterface({ input: output }).on("line", (line) => {
        printed = `${printed.slice(-4000)}${line}\n`;
        const [, text] = /^listens on (\S+)$/.exec(line) ?? [];
        if (text === undefined) return;
        clearTimeout(timer);
        found(text);
      });
    }
  });
  return {
    pid: child.pid ?? 0,
    address,
    stop: () => {
      child.kill("SIGKILL");
      return closed;
    },
  };
}

/** Runs a command to its end and gives what it printed; rejects with the end of that. */
export function run(command: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
  const [program = "", ...args] = command;
  const child = spawn(program, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  endWithUs(child);
  return new Promise<string>((done, failed) => {
    const printed = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].on("data", (bytes: Buffer) => {
        printed[name] += bytes.toString();
      });
    }
    child.on("error", failed);
    child.on("close", (code) => {
      if (code === 0) return done(printed.stdout);
      failed(new Error(`${program} ${args[0]} ended with ${code}:\n${(printed.stdout + printed.stderr).slice(-1500)}`));
    });
  });
}

/** The CPU time in nanoseconds that the process, its threads and its children have had. */
export function cpuNs(pid: number): number {
  return threadsOf(pid).reduce((sum, thread) => sum + Number(read(`${thread}/schedstat`).split(" ")[0]), 0);
}

function threadsOf(pid: number): string[] {
  const folder = `/proc/${pid}/task`;
  if (!existsSync(folder)) return [];
  const threads = readdirSync(folder).map((id) => `${folder}/${id}`);
  const children = threads.flatMap((thread) => read(`${thread}/children`).split(" ").filter(Boolean));
  return [...threads, ...children.flatMap((child) => threadsOf(Number(child)))];
}

/** A thread may have ended since it was listed. */
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
