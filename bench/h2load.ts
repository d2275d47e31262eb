// h2load, the load generator that costs so little that it is never the bottleneck: found, or fetched with apt as any user,
// with nothing installed. It must not know what it is used on.
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { run } from "./processes.js";

/** Where the bench keeps what it fetches. */
export const CACHE = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "api-token-service");
const KEPT = join(CACHE, "h2load");

// The system's hooks write to places that are not ours, and its sandbox user cannot enter our folder.
const APT_CONFIGURATION = `
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Debug::NoLocking "true";
`;

export interface H2load {
  /** The beginning of its command line. */
  readonly command: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly version: string;
}

/** What runs here; undefined, with the reason reported, where there is none and none can be fetched. */
export async function findH2load(report: (line: string) => void): Promise<H2load | undefined> {
  const onPath = (process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, "h2load"));
  const installed = onPath.find((path) => existsSync(path));
  if (installed !== undefined) return tried(installed, {});
  try {
    if (!existsSync(KEPT)) await fetchH2load(report);
    return await kept();
  } catch (error) {
    report(`There is no h2load here, and it cannot be fetched: ${String(error)}
Install it (Debian, Ubuntu: sudo apt-get install nghttp2-client); without it only memory, lists and latency are measured.`);
    return undefined;
  }
}

async function kept(): Promise<H2load> {
  const libraries = await readdir(join(KEPT, "usr/lib"), { withFileTypes: true });
  const folders = libraries.filter((entry) => entry.isDirectory()).map(({ name }) => join(KEPT, "usr/lib", name));
  return tried(join(KEPT, "usr/bin/h2load"), { LD_LIBRARY_PATH: folders.join(":") });
}

async function tried(path: string, added: NodeJS.ProcessEnv): Promise<H2load> {
  const env = { PATH: process.env["PATH"], ...added };
  const printed = await run([path, "--version"], { env });
  return { command: [path], env, version: printed.trim() };
}

async function fetchH2load(report: (line: string) => void): Promise<void> {
  report("Fetching h2load from this system's package sources, for the bench alone: nothing is installed.");
  await mkdir(CACHE, { recursive: true, mode: 0o700 });
  const work = await mkdtemp(join(CACHE, "fetch-"));
  try {
    const archives = join(work, "archives");
    for (const folder of ["lists", "archives"]) await mkdir(join(work, folder, "partial"), { recursive: true });
    await writeFile(join(work, "apt.conf"), APT_CONFIGURATION);
    const places = { "Dir::State::lists": join(work, "lists"), "Dir::Cache": work, "Dir::Cache::archives": archives };
    const settings = Object.entries(places).flatMap(([name, path]) => ["-o", `${name}=${path}`]);
    const apt = ["apt-get", "-c", join(work, "apt.conf"), ...settings];
    // One source of many may fail; the download shows whether it matters.
    await run([...apt, "update"]).catch(() => "");
    await run([...apt, "install", "--download-only", "--yes", "--no-install-recommends", "nghttp2-client"]);
    const unpacked = join(work, "unpacked");
    for (const file of await readdir(archives))
      if (file.endsWith(".deb")) await run(["dpkg-deb", "-x", join(archives, file), unpacked]);
    await rename(unpacked, KEPT);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
