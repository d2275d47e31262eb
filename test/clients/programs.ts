// Runs other people's programs: finds them, keeps what they print, ends them and their children when they take too long.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { stripVTControlCharacters } from "node:util";

/** Something that a part needs cannot be had here; its message says what. */
export class Skipped extends Error {}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const running = new Set<number>();
process.on("exit", () => {
  for (const pid of running) endGroup(pid);
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

/** Runs it to its end, whatever its exit code. */
export function run(command: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const { cwd = process.cwd(), env = {}, timeoutMs = 60_000 } = options;
  const [program = "", ...args] = command;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      // A group of its own, so that what a shell or Maven started ends with it.
      detached: true,
    });
    const { pid } = child;
    if (pid !== undefined) running.add(pid);
    const printed = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        printed[name] += text;
      });
    }
    const timer = setTimeout(() => {
      printed.stderr += `\n(ended after ${timeoutMs} ms)`;
      if (pid !== undefined) endGroup(pid);
    }, timeoutMs);
    const settle = () => {
      clearTimeout(timer);
      if (pid !== undefined) running.delete(pid);
    };
    child.on("error", (error) => {
      settle();
      reject(error);
    });
    child.on("close", (code) => {
      settle();
      resolve({ code, ...printed });
    });
  });
}

/** What it printed to stdout. Throws with all that it printed when it fails. */
export async function output(command: readonly string[], options?: RunOptions): Promise<string> {
  const { code, stdout, stderr } = await run(command, options);
  if (code === 0) return stdout;
  throw new Error(`${command.join(" ")}: exit code ${code}\n${lastLines(stdout + stderr)}`);
}

export function onPath(name: string): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** The program's path. Throws Skipped when it is not on the PATH. */
export function need(name: string): string {
  const path = onPath(name);
  if (path === undefined) throw new Skipped(`${name} is not installed`);
  return path;
}

/** The first line with a version in it that the program prints. */
export async function versionOf(command: readonly string[]): Promise<string> {
  const { stdout, stderr } = await run(command);
  // Maven colours its version even into a pipe.
  const lines = stripVTControlCharacters(stdout + stderr).split("\n");
  return (lines.find((line) => /\d+\.\d+/.test(line)) ?? "unknown version").trim();
}

export function expectMatch(title: string, actual: string, pattern: RegExp): void {
  if (!pattern.test(actual)) throw new Error(`${title}: ${pattern} is not in\n${actual}`);
}

/** Throws with the first line that differs. */
export function expectLines(title: string, actual: string, expected: string): void {
  const [is, shouldBe] = [actual.split("\n"), expected.split("\n")];
  for (let i = 0; i < Math.max(is.length, shouldBe.length); i += 1) {
    if (is[i] !== shouldBe[i])
      throw new Error(
        `${title}: line ${i + 1} is\n  ${is[i] ?? "(no line)"}\nand should be\n  ${shouldBe[i] ?? "(no line)"}`,
      );
  }
}

export function lastLines(text: string, count = 30): string {
  return text.trimEnd().split("\n").slice(-count).join("\n");
}

function endGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has just ended.
  }
}
