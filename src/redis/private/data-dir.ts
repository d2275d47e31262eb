// The folder of a private Redis: who may read it, where its socket lies, and the lock that lets only one process own it.
// It must not know how Redis is run.
import { createHash, randomUUID } from "node:crypto";
import { chmod, link, lstat, mkdir, readdir, readFile, realpath, rm, rmdir, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { isNativeError } from "node:util/types";
import { PrivateRedisError } from "./errors.js";
import { processStart } from "./processes.js";

/** Gives the lock back; harmless when called twice. */
export type ReleaseLock = () => Promise<void>;

// sun_path holds 104 bytes on macOS and 108 on Linux, with the closing zero.
const LONGEST_SOCKET_PATH = 100;
const DRAFT_AGE_MS = 60_000;
const APPEND_ONLY_DIR = "appendonlydir";

/**
 * Creates the folder with mode 0700, or tightens an existing one to it, and returns its real path. A folder that others
 * may read and that holds anything but a Redis is refused, for it may be somebody's home or /var.
 */
export async function openDataDir(dataDir: string): Promise<string> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const path = await realpath(dataDir);
  if (isPrivate(await lstat(path))) return path;
  const names = await readdir(path);
  if (names.length > 0 && !names.includes(APPEND_ONLY_DIR))
    throw new PrivateRedisError(
      `${path} can be read by others and holds other files: make it private (chmod 700), or choose another DATA_DIR.`,
    );
  await chmod(path, 0o700);
  return path;
}

/** Where the socket goes: into the folder, or, when that path is too long for a socket, into a private temporary one. */
export async function socketPathFor(dataDir: string): Promise<string> {
  const inside = join(dataDir, "redis.sock");
  if (Buffer.byteLength(inside) <= LONGEST_SOCKET_PATH) return inside;
  const name = `apitoken-redis-${createHash("sha256").update(dataDir).digest("hex").slice(0, 20)}`;
  const candidates = [tmpdir(), "/tmp"].map((folder) => join(folder, name));
  const folder = candidates.find((path) => Buffer.byteLength(join(path, "redis.sock")) <= LONGEST_SOCKET_PATH);
  if (folder === undefined) throw new PrivateRedisError(`No folder is short enough for the socket of ${dataDir}.`);
  await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
    if (codeOf(error) !== "EEXIST") throw error;
  });
  // Anybody may create names in a temporary folder: one that is not ours alone could hand us somebody else's Redis.
  const state = await lstat(folder);
  if (!state.isDirectory() || !isPrivate(state))
    throw new PrivateRedisError(`${folder}, for the socket of ${dataDir}, is not a folder of ours alone: remove it.`);
  return join(folder, "redis.sock");
}

/** Removes the socket, and the temporary folder that was made for it. */
export async function removeSocket(dataDir: string, socketPath: string): Promise<void> {
  await rm(socketPath, { force: true });
  if (dirname(socketPath) !== dataDir) await rmdir(dirname(socketPath)).catch(() => undefined);
}

/**
 * Takes the lock, or throws when a live process holds it.
 *
 * A lock is a file `owner.<n>` naming a process and its start. Whoever finds the newest one stale creates the next
 * number, which only one can do, and removes the older ones. The newest is never removed, not even when it is given
 * back, so that no number is used twice: a process that was slow to judge an old one always sees that it is too late.
 */
export async function lockDataDir(dataDir: string): Promise<ReleaseLock> {
  await removeOldDrafts(dataDir);
  const draft = join(dataDir, `owner-${randomUUID()}.draft`);
  await writeFile(draft, `${process.pid} ${await processStart(process.pid)}\n`, { mode: 0o600 });
  try {
    for (;;) {
      const newest = (await lockNumbers(dataDir)).at(-1) ?? 0;
      if (newest > 0) await refuseIfHeld(dataDir, newest);
      const mine = newest + 1;
      if (!(await linked(draft, lockFile(dataDir, mine)))) continue;
      const numbers = await lockNumbers(dataDir);
      const overtaken = numbers.some((number) => number > mine);
      const obsolete = overtaken ? [mine] : numbers.filter((number) => number < mine);
      for (const number of obsolete) await rm(lockFile(dataDir, number), { force: true });
      if (!overtaken) return () => writeFile(lockFile(dataDir, mine), "free\n");
    }
  } finally {
    await rm(draft, { force: true });
  }
}

/** Left by processes that were killed while taking the lock; a young one may be about to be linked. */
async function removeOldDrafts(dataDir: string): Promise<void> {
  for (const name of await readdir(dataDir)) {
    if (!/^owner-.*\.draft$/.test(name)) continue;
    const path = join(dataDir, name);
    const writtenMs = await stat(path).then(
      ({ mtimeMs }) => mtimeMs,
      () => Date.now(),
    );
    if (Date.now() - writtenMs > DRAFT_AGE_MS) await rm(path, { force: true });
  }
}

async function refuseIfHeld(dataDir: string, number: number): Promise<void> {
  const content = await readFile(lockFile(dataDir, number), "utf8").catch(() => "");
  const [, pid = "", start = ""] = /^(\d+) (.+)\n$/.exec(content) ?? [];
  // A live process with another start is a stranger that got the dead owner's number.
  if (pid === "" || (await processStart(Number(pid))) !== start) return;
  throw new PrivateRedisError(`${dataDir} is in use by process ${pid}: stop it, or choose another DATA_DIR.`);
}

function lockFile(dataDir: string, number: number): string {
  return join(dataDir, `owner.${number}`);
}

/** In ascending order. */
async function lockNumbers(dataDir: string): Promise<number[]> {
  const numbers = (await readdir(dataDir)).map((name) => Number(/^owner\.(\d+)$/.exec(name)?.[1] ?? 0));
  return numbers.filter((number) => number > 0).sort((a, b) => a - b);
}

/** A link appears with its content, or not at all: nobody ever reads half a lock. */
async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (codeOf(error) === "EEXIST") return false;
    throw error;
  }
}

function isPrivate(state: { readonly mode: number; readonly uid: number }): boolean {
  return (state.mode & 0o077) === 0 && state.uid === process.getuid?.();
}

function codeOf(error: unknown): unknown {
  return isNativeError(error) && "code" in error ? error.code : undefined;
}
