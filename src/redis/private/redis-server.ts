// Finds a redis-server (or valkey-server) that runs here: named by the operator, installed, fetched earlier, or fetched
// now. It must not know what the server is used for, nor read the environment itself.
import { execFile } from "node:child_process";
import { access, constants, lstat } from "node:fs/promises";
import { delimiter, join, resolve } from "node:path";
import { promisify } from "node:util";
import { isNativeError } from "node:util/types";
import { fetchedRedis, fetchRedis } from "./apt-redis.js";
import { PrivateRedisError } from "./errors.js";

/** A program that was really run and printed a version of at least 7.0. */
export type RedisServer = {
  /** Absolute path. */
  readonly command: string;
  /** What the program needs in its environment besides nothing at all. */
  readonly env: Readonly<Record<string, string>>;
  /** For example "7.0.15". */
  readonly version: string;
};

export type FindRedisServerOptions = {
  /** The operator's choice (REDIS_SERVER_BIN): used or refused, never replaced by another. */
  readonly explicitPath?: string | undefined;
  /** Folders as in PATH. */
  readonly searchPath: string;
  /** Where a fetched copy is kept between runs. */
  readonly cacheDir: string;
  /** Folders searched after searchPath; by default those where package managers put a Redis. */
  readonly usualFolders?: readonly string[] | undefined;
  /** Gets one line per step that takes time and per program that is passed over. */
  readonly report: (line: string) => void;
};

const OLDEST_MAJOR = 7;
const PROGRAMS = ["redis-server", "valkey-server"];
// Snap's folder is left out: a confined Redis cannot open a data folder of ours.
const USUAL_FOLDERS = [
  "/usr/bin",
  "/usr/local/bin",
  "/usr/sbin",
  "/usr/local/sbin",
  "/opt/homebrew/bin",
  "/opt/homebrew/opt/redis/bin",
  "/opt/homebrew/opt/valkey/bin",
  "/usr/local/opt/redis/bin",
  "/usr/local/opt/valkey/bin",
  "/opt/local/bin",
  "/opt/redis/bin",
  "/opt/valkey/bin",
];
const INSTALL_COMMANDS: ReadonlyArray<readonly [program: string, command: string]> = [
  ["apt-get", "sudo apt-get install redis-server"],
  ["dnf", "sudo dnf install redis (or valkey)"],
  ["apk", "sudo apk add redis"],
  ["brew", "brew install redis"],
];

/** Finds a usable server, or throws one {@link PrivateRedisError} that says why there is none and how to get one. */
export async function findRedisServer(options: FindRedisServerOptions): Promise<RedisServer> {
  const { explicitPath, report } = options;
  if (explicitPath !== undefined) return explicitServer(resolve(explicitPath));

  const folders = [
    ...options.searchPath.split(delimiter).filter((folder) => folder !== ""),
    ...(options.usualFolders ?? USUAL_FOLDERS),
  ];
  for (const command of await programsIn(folders, PROGRAMS)) {
    const found = await tryServer(command, {});
    if (typeof found === "object") return found;
    report(`Passing over ${command}: ${found}.`);
  }

  const fetched = await fetchedRedis(options.cacheDir);
  if (fetched !== undefined) {
    const found = await tryServer(fetched.command, fetched.env);
    if (typeof found === "object") return found;
    report(`Passing over ${fetched.command}: ${found}.`);
  }
  return fetchServer(options.cacheDir, folders, report);
}

async function explicitServer(command: string): Promise<RedisServer> {
  const found = await tryServer(command, {});
  if (typeof found === "object") return found;
  throw new PrivateRedisError(`REDIS_SERVER_BIN names ${command}, which cannot be used: ${found}.`);
}

async function fetchServer(
  cacheDir: string,
  folders: readonly string[],
  report: (line: string) => void,
): Promise<RedisServer> {
  const [aptGet] = await programsIn(folders, ["apt-get"]);
  const [dpkgDeb] = await programsIn(folders, ["dpkg-deb"]);
  if (aptGet === undefined || dpkgDeb === undefined)
    throw noRedis("it can be fetched only where apt-get and dpkg-deb exist.", await installCommand(folders));
  try {
    return await fetchRedis({
      aptGet,
      dpkgDeb,
      cacheDir,
      report,
      async verify({ command, env }) {
        const found = await tryServer(command, env);
        if (typeof found === "object") return found;
        throw new PrivateRedisError(`the fetched ${command} cannot be used: ${found}`);
      },
    });
  } catch (error) {
    const reason = isNativeError(error) ? error.message : String(error);
    throw noRedis(`fetching one failed: ${reason}`, await installCommand(folders));
  }
}

function noRedis(reason: string, command: string): PrivateRedisError {
  return new PrivateRedisError(
    `No Redis ${OLDEST_MAJOR}.0 or newer was found, and ${reason}\n` +
      `Install one (${command}), or name one with REDIS_SERVER_BIN, or set REDIS_URL to a Redis that runs already.`,
  );
}

async function installCommand(folders: readonly string[]): Promise<string> {
  for (const [program, command] of INSTALL_COMMANDS) {
    if ((await programsIn(folders, [program])).length > 0) return command;
  }
  return INSTALL_COMMANDS.map(([, command]) => command).join(", ");
}

/** Every executable file of these names, in the order of the folders, each once. */
async function programsIn(folders: readonly string[], names: readonly string[]): Promise<string[]> {
  const found = new Set<string>();
  for (const folder of folders) {
    for (const name of names) {
      const path = resolve(join(folder, name));
      if ((await unusable(path)) === undefined) found.add(path);
    }
  }
  return [...found];
}

async function unusable(path: string): Promise<string | undefined> {
  try {
    await access(path, constants.X_OK);
    return (await lstat(path)).isDirectory() ? "it is a folder" : undefined;
  } catch (error) {
    const missing = isNativeError(error) && "code" in error && error.code === "ENOENT";
    return missing ? "there is no such file" : "it is not executable";
  }
}

/** The server, or why it is none. */
async function tryServer(command: string, env: Readonly<Record<string, string>>): Promise<RedisServer | string> {
  const fault = await unusable(command);
  if (fault !== undefined) return fault;
  let output: string;
  try {
    // The same bare environment in which it will run, so that what works here works there.
    const { stdout } = await promisify(execFile)(command, ["--version"], { env: { ...env }, timeout: 10_000 });
    output = stdout;
  } catch (error) {
    return `running it failed: ${lastLine(isNativeError(error) ? error.message : String(error))}`;
  }
  const [, version, major] = /^(?:Redis|Valkey) server v=((\d+)\.\d+\S*)/m.exec(output) ?? [];
  if (version === undefined) return `it printed no version but "${lastLine(output)}"`;
  if (Number(major) < OLDEST_MAJOR) return `its version is ${version}, older than ${OLDEST_MAJOR}.0`;
  return { command, env, version };
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1)?.slice(0, 300) ?? "";
}
