// Brings node_modules and dist up to date, and does nothing when they are: `npm start` and `npm test` run it first.
// With --package dist is what `npm pack` takes from it: without source maps, with types, and the client for `require` too.
// Plain JavaScript on Node alone, for it runs before anything is installed.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

const root = import.meta.dirname;
process.chdir(root);
const isPackage = process.argv.includes("--package");

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 19))
  fail(`Node ${process.versions.node} is too old: 20.19 or newer is needed.`);

await withLock(".build.lock", async () => {
  const dependencies = fingerprint(["package-lock.json"]);
  if (read("node_modules/.fingerprint") !== dependencies) {
    run("Installing dependencies", "npm", ["ci", "--include=dev", "--no-audit", "--no-fund"]);
    writeFileSync("node_modules/.fingerprint", dependencies);
  }
  // An image is built without tests.
  const folders = ["src", "gen", "test", "bench"].filter(existsSync);
  const sources = fingerprint(["package-lock.json", "tsconfig.json", "build.mjs", ...folders]) + isPackage;
  if (read("dist/.fingerprint") !== sources) {
    // Built beside dist and swapped in, so that a running server never sees half a build and nothing stale stays.
    rmSync("dist.next", { recursive: true, force: true });
    const compile = (...args) => run("Compiling", process.execPath, ["node_modules/typescript/bin/tsc", ...args]);
    compile("--outDir", "dist.next", ...(isPackage ? ["--sourceMap", "false", "--declaration"] : []));
    for (const file of filesUnder(folders)) {
      if (!file.endsWith(".ts")) cpSync(file, join("dist.next", file));
    }
    if (isPackage) {
      compile("--project", "src/client/tsconfig.commonjs.json", "--outDir", "dist.next/commonjs");
      writeFileSync("dist.next/commonjs/package.json", '{ "type": "commonjs" }\n');
    }
    await bundle("dist.next/src/main.js", "dist.next/apitokend.js");
    const { bin } = JSON.parse(readFileSync("package.json", "utf8"));
    for (const program of Object.values(bin)) chmodSync(program.replace(/^dist/, "dist.next"), 0o755);
    writeFileSync("dist.next/.fingerprint", sources);
    rmSync("dist", { recursive: true, force: true });
    renameSync("dist.next", "dist");
  }
});

/** One file of a program and all that it imports: it starts in less than half of the time that 380 files take. */
async function bundle(program, outfile) {
  const { build } = await import("esbuild");
  await build({
    entryPoints: [program],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    sourcemap: isPackage ? false : "linked",
    sourcesContent: false,
    // What grpc-js needs for channelz and ORCA, which nobody uses.
    external: ["@grpc/proto-loader"],
    // CommonJS packages ask for Node's own modules by it. What needs __dirname, such as pino's transports, does not work.
    banner: { js: 'import { createRequire } from "node:module";\nconst require = createRequire(import.meta.url);' },
    logLevel: "warning",
  });
}

function run(title, command, args) {
  console.log(`${title}...`);
  const { status, error } = spawnSync(command, args, { stdio: "inherit" });
  if (status !== 0) fail(`${title} failed${error ? `: ${error.message}` : ""}.`);
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

/** One digest over the names and contents of all files, so that a changed time stamp alone rebuilds nothing. */
function fingerprint(paths) {
  const hash = createHash("sha256").update(process.version);
  for (const file of filesUnder(paths)) hash.update(`${file}\0`).update(readFileSync(file)).update("\0");
  return hash.digest("hex");
}

function filesUnder(paths) {
  return paths.flatMap((path) => {
    if (!statSync(path).isDirectory()) return [path];
    const entries = readdirSync(path, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .sort();
  });
}

function read(path) {
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

/** Two builds at once would tear each other's node_modules apart; the second waits for the first. */
async function withLock(path, work) {
  for (let told = false; ; told = true) {
    try {
      writeFileSync(path, String(process.pid), { flag: "wx" });
      break;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
      const owner = Number(read(path));
      if (!isRunning(owner)) rmSync(path, { force: true });
      else if (!told) console.log(`Waiting for another build (process ${owner}; if there is none, remove ${path})...`);
      await delay(200);
    }
  }
  process.on("exit", () => rmSync(path, { force: true }));
  await work();
}

function isRunning(pid) {
  if (!(pid > 0)) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}
