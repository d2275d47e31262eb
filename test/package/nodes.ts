// The versions of Node that the package is tried on: the oldest that it supports, the one that is recommended, and the one
// that runs this. npm has Node itself for some platforms.
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { CACHE } from "../clients/builds.js";
import { lastLines, run, Skipped } from "../clients/programs.js";

export const VERSIONS = [process.versions.node, "20.19.0", "24.21.0"];

/** The folder with that version's `node`. Throws Skipped when it cannot be had. */
export async function folderOf(version: string): Promise<string> {
  if (version === process.versions.node) return join(process.execPath, "..");
  const name = `node-${process.platform}-${process.arch}`;
  const home = join(CACHE, "node", version);
  const folder = join(home, "node_modules", name, "bin");
  if (existsSync(join(folder, "node"))) return folder;
  mkdirSync(home, { recursive: true });
  // Its only script would link it into node_modules/.bin.
  const args = ["install", "--prefix", home, "--ignore-scripts", "--no-audit", "--no-fund", `${name}@${version}`];
  const { code, stdout, stderr } = await run(["npm", ...args], { timeoutMs: 300_000 });
  if (code !== 0) throw new Skipped(`npm has no ${name}@${version} here: ${lastLines(stdout + stderr, 1)}`);
  return folder;
}
