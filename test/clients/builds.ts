// Builds the clients as their READMEs say, in the user's cache folder: one folder for each state of the sources, so that
// what was built once is there at once.
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from "node:fs";
import { homedir } from "node:os";
import { basename, delimiter, dirname, join } from "node:path";
import { lastLines, onPath, type RunOptions, run, Skipped } from "./programs.js";
import { ROOT } from "./vectors.js";

export const CACHE = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "api-token-service");
const BUILDS = join(CACHE, "clients");
const INSTALL_TIMEOUT_MS = 600_000;
const BUILD_TIMEOUT_MS = 300_000;
const UNUSED_AFTER_MS = 24 * 3600_000;
/** What building leaves in a checkout where somebody followed a README. */
const BUILT = new Set(["gen", "bin", "dist", "target", "node_modules", ".venv", "__pycache__"]);

export interface Build {
  /** The language's own folder, as in a checkout. */
  readonly folder: string;
  /** Makes the programs of the README found: buf, a virtual environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly wasThere: boolean;
}

/** Installs and builds. Throws Skipped when it cannot be installed. `toolVersions`: a change of one builds anew. */
export async function build(language: string, toolVersions: readonly string[]): Promise<Build> {
  const sources = ["buf.yaml", "proto", "clients/service-config.json", `clients/${language}`].flatMap(filesIn);
  const name = `${language}-${fingerprint(sources, toolVersions)}`;
  const home = join(BUILDS, name);
  const wasThere = existsSync(home);
  if (!wasThere) await buildIn(home, language, sources);
  utimesSync(home, new Date(), new Date());
  return { ...place(home, language), wasThere };
}

async function buildIn(home: string, language: string, sources: readonly string[]): Promise<void> {
  const draft = `${home}.${process.pid}`;
  try {
    for (const file of sources) cpSync(join(ROOT, file), join(draft, file), { recursive: true });
    const { folder: cwd, env } = place(draft, language);
    const readme = readFileSync(join(cwd, "README.md"), "utf8");
    const shell = (mark: string, options: RunOptions) => run(["sh", "-ec", blockOf(readme, mark)], options);
    const installed = await shell("install", { cwd, env, timeoutMs: INSTALL_TIMEOUT_MS });
    if (installed.code !== 0)
      throw new Skipped(`it could not be installed: ${lastLines(installed.stdout + installed.stderr, 1)}`);
    const built = await shell("build", { cwd, env, timeoutMs: BUILD_TIMEOUT_MS });
    if (built.code !== 0) throw new Error(`it could not be built: ${lastLines(built.stdout + built.stderr)}`);
    // Another run may have been first.
    if (!existsSync(home)) renameSync(draft, home);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  removeUnused(language);
}

/** The text of the README's block with that mark. */
export function blockOf(readme: string, mark: string): string {
  const [, block] = new RegExp(`<!-- ${mark} -->\\n\`\`\`sh\\n([\\s\\S]*?)\`\`\``).exec(readme) ?? [];
  if (block === undefined) throw new Error(`the README has no block <!-- ${mark} -->`);
  return block;
}

function place(home: string, language: string): { folder: string; env: Readonly<Record<string, string>> } {
  const folder = join(home, "clients", language);
  const paths = [join(folder, ".venv/bin"), join(ROOT, "node_modules/.bin"), process.env["PATH"] ?? ""];
  return { folder, env: { PATH: paths.join(delimiter) } };
}

function filesIn(path: string): string[] {
  if (!statSync(join(ROOT, path)).isDirectory()) return [path];
  const entries = readdirSync(join(ROOT, path), { withFileTypes: true }).filter(({ name }) => !BUILT.has(name));
  return entries.flatMap(({ name }) => filesIn(join(path, name))).sort();
}

function fingerprint(sources: readonly string[], toolVersions: readonly string[]): string {
  const hash = createHash("sha256").update([process.platform, process.arch, ...toolVersions].join("\0"));
  for (const file of sources) hash.update(`\0${file}\0`).update(readFileSync(join(ROOT, file)));
  return hash.digest("hex").slice(0, 16);
}

/** Those of earlier sources: a day without use, so that no other run is in one. */
function removeUnused(language: string): void {
  mkdirSync(BUILDS, { recursive: true });
  for (const name of readdirSync(BUILDS)) {
    const path = join(BUILDS, name);
    const isUnused = Date.now() - statSync(path).mtimeMs > UNUSED_AFTER_MS;
    if (name.startsWith(`${language}-`) && isUnused) rmSync(path, { recursive: true, force: true });
  }
}

/** A program of a Go module, from the PATH or installed with Go, and its version. Throws Skipped when it cannot be had. */
export async function goProgram(module: string): Promise<{ path: string; version: string }> {
  const [source = "", version = ""] = module.split("@");
  const name = basename(source);
  const installed = onPath(name);
  if (installed !== undefined) return { path: installed, version: `at ${installed}` };
  const folder = join(CACHE, "go", `${name}@${version}`);
  const path = join(folder, name);
  if (existsSync(path)) return { path, version };
  const go = onPath("go");
  if (go === undefined) throw new Skipped(`${name} is not installed, nor is Go to install it with`);
  mkdirSync(dirname(folder), { recursive: true });
  const { code, stderr } = await run([go, "install", module], {
    env: { GOBIN: folder },
    timeoutMs: INSTALL_TIMEOUT_MS,
  });
  if (code !== 0) throw new Skipped(`Go could not install ${module}: ${lastLines(stderr, 1)}`);
  return { path, version };
}
