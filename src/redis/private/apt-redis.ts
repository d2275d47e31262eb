// Fetches a redis-server from the package sources of a Debian-like system into a folder of ours, as any user, with
// nothing installed: apt checks the signatures, dpkg-deb unpacks. It must not know which versions are good enough.
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isNativeError } from "node:util/types";

/** An unpacked redis-server and what its environment needs, not yet run. */
export type UnpackedRedis = { readonly command: string; readonly env: Readonly<Record<string, string>> };

export type FetchOptions<Server> = {
  readonly aptGet: string;
  readonly dpkgDeb: string;
  readonly cacheDir: string;
  readonly report: (line: string) => void;
  /** Runs the program, and throws when it cannot be used. */
  readonly verify: (redis: UnpackedRedis) => Promise<Server>;
};

const FETCH_LIMIT_MS = 300_000;
const LEFTOVER_AGE_MS = 3_600_000;
// The system's hooks write to places that are not ours (and fail for want of root); its sandbox user cannot enter our
// folder. Read with -c, which comes after the system's own files.
const APT_CONFIGURATION = `
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
APT::Sandbox::User "root";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Debug::NoLocking "true";
`;

/** The copy of an earlier fetch, if there is one; it may have stopped working since. */
export async function fetchedRedis(cacheDir: string): Promise<UnpackedRedis | undefined> {
  const folder = keptFolder(cacheDir);
  return (await exists(folder)) ? unpackedIn(folder) : undefined;
}

/** Fetches, verifies, and only then puts the copy in its place. Throws an Error whose message ends with apt's output. */
export async function fetchRedis<Server>(options: FetchOptions<Server>): Promise<Server> {
  const { cacheDir, dpkgDeb, report, verify } = options;
  await mkdir(cacheDir, { recursive: true, mode: 0o700 });
  await removeLeftovers(cacheDir);
  const work = await mkdtemp(join(cacheDir, "fetch-"));
  try {
    report("Fetching a Redis from this system's package sources, for this program alone: nothing is installed.");
    const packages = await download(options, work);
    const unpacked = join(work, "unpacked");
    for (const file of packages) await run(dpkgDeb, ["-x", file, unpacked]);
    await verify(await unpackedIn(unpacked));
    await keep(unpacked, work, keptFolder(cacheDir), verify);
    const server = await verify(await unpackedIn(keptFolder(cacheDir)));
    report(`Fetched ${packages.length} packages into ${cacheDir}.`);
    return server;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

function keptFolder(cacheDir: string): string {
  return join(cacheDir, "redis-server");
}

/** Downloads redis-server and what of its libraries is not installed; the files' paths. */
async function download(options: FetchOptions<unknown>, work: string): Promise<string[]> {
  const configuration = join(work, "apt.conf");
  const archives = join(work, "archives");
  await writeFile(configuration, APT_CONFIGURATION);
  for (const folder of ["lists", "archives"]) await mkdir(join(work, folder, "partial"), { recursive: true });
  const apt = (...args: readonly string[]): Promise<string> => {
    const places = { "Dir::State::lists": join(work, "lists"), "Dir::Cache": work, "Dir::Log": work };
    const settings = Object.entries(places).flatMap(([name, path]) => ["-o", `${name}=${path}`]);
    return run(options.aptGet, ["-c", configuration, ...settings, "-o", `Dir::Cache::archives=${archives}`, ...args]);
  };

  options.report("Reading the package lists...");
  // One source of many that fails (a vendor's, say) need not matter: the download shows whether it did.
  const update = await apt("update").catch(messageOf);
  options.report("Downloading redis-server and the libraries it misses...");
  // --reinstall, because an installed redis-tools would be left out, and the program itself lies in it.
  const names = ["redis-server", "redis-tools"];
  const install = ["install", "--download-only", "--reinstall", "--yes", "--no-install-recommends", ...names];
  await apt(...install).catch((error: unknown) => {
    const faults = update.split("\n").filter((line) => /^\s*[WE]: /.test(line));
    throw new Error([messageOf(error), ...faults.slice(-4).map((line) => `  before: ${line.trim()}`)].join("\n"));
  });
  const files = await readdir(archives);
  return files.filter((file) => file.endsWith(".deb")).map((file) => join(archives, file));
}

/** Puts the new copy in its place, unless a fetch that ran beside this one has put a good one there meanwhile. */
async function keep(
  unpacked: string,
  work: string,
  place: string,
  verify: (redis: UnpackedRedis) => Promise<unknown>,
): Promise<void> {
  if (await exists(place)) {
    const works = await unpackedIn(place)
      .then(verify)
      .then(
        () => true,
        () => false,
      );
    if (works) return;
    await rename(place, join(work, "outdated"));
  }
  try {
    await rename(unpacked, place);
  } catch (error) {
    // Another fetch was faster: its copy is verified by the caller.
    if (!(await exists(place))) throw error;
  }
}

async function unpackedIn(folder: string): Promise<UnpackedRedis> {
  const libraries: string[] = [];
  for (const root of ["usr/lib", "lib"]) {
    const entries = await readdir(join(folder, root), { withFileTypes: true }).catch(() => []);
    if (entries.some((entry) => entry.name.includes(".so"))) libraries.push(join(folder, root));
    // The folder of an architecture, such as x86_64-linux-gnu; others hold plug-ins that are no libraries.
    const nested = entries.filter((entry) => entry.isDirectory() && entry.name.includes("-linux-"));
    libraries.push(...nested.map((entry) => join(folder, root, entry.name)));
  }
  return { command: join(folder, "usr/bin/redis-server"), env: { LD_LIBRARY_PATH: libraries.join(":") } };
}

/** A fetch that was killed leaves its folder behind; one that is young may still be running. */
async function removeLeftovers(cacheDir: string): Promise<void> {
  for (const name of await readdir(cacheDir)) {
    if (!name.startsWith("fetch-")) continue;
    const folder = join(cacheDir, name);
    const age = await stat(folder).then(
      ({ mtimeMs }) => Date.now() - mtimeMs,
      () => 0,
    );
    if (age > LEFTOVER_AGE_MS) await rm(folder, { recursive: true, force: true });
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Runs a program to its end and returns its output; throws an Error with the command and the end of that output. */
function run(command: string, args: readonly string[]): Promise<string> {
  const options = { env: { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" }, timeout: FETCH_LIMIT_MS };
  return new Promise((resolve, reject) => {
    execFile(command, [...args], options, (error, stdout, stderr) => {
      if (error === null) return resolve(`${stdout}\n${stderr}`);
      const tail = `${stdout}\n${stderr}`.split("\n").filter((line) => line.trim() !== "");
      const ending = error.killed ? "took too long" : `ended with ${error.code ?? error.signal}`;
      const step = args.find((arg) => arg === "update" || arg === "install") ?? "-x";
      reject(new Error([`${command} ${step} ${ending}; its last lines:`, ...tail.slice(-8)].join("\n  ")));
    });
  });
}

function messageOf(error: unknown): string {
  return isNativeError(error) ? error.message : String(error);
}
