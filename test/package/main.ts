// The program behind `npm run test:package`: what `npm pack` makes from the sources, installed in empty projects with each
// version of Node, its programs started and imported as a stranger would. Not a part of `npm test`, for it installs.
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { expectLines, output, run, Skipped } from "../clients/programs.js";
import { ROOT } from "../clients/vectors.js";
import { temporaryFolder } from "../harness.js";
import { startServerProcess } from "../server-process.js";
import { COMMONJS, ESM, PRINTED, TYPED } from "./consumers.js";
import { folderOf, VERSIONS } from "./nodes.js";

const MAX_PACKED_BYTES = 220_000;
const MAX_UNPACKED_BYTES = 1_150_000;
/** All that the package is made from. */
const SOURCES =
  "package.json package-lock.json build.mjs tsconfig.json README.md LICENSE CHANGELOG.md proto gen src clients/service-config.json";
const NEEDED = [
  "dist/src/main.js",
  "dist/src/shell/main.js",
  "dist/src/redis/lua/renew.lua",
  "dist/gen/descriptor.binpb",
  "dist/src/client/main.d.ts",
  "dist/commonjs/src/client/main.d.ts",
  "proto/apitoken/v1/api_token_service.proto",
  "proto/google/rpc/error_details.proto",
  "README.md",
  "LICENSE",
  "CHANGELOG.md",
];
const BALLAST = /\.map$|(?<!\.d)\.ts$|test|bench|\.fingerprint|tsconfig|released/;

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string; readonly mode: number }[];
}

const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
  readonly version: string;
  readonly devDependencies: Readonly<Record<string, string>>;
};
const folder = await temporaryFolder();
try {
  const tarball = await pack(join(folder.path, "sources"));
  let installed = "";
  for (const version of VERSIONS) installed = (await checkOn(version, tarball)) ?? installed;
  await checkTypes(installed);
} finally {
  await folder.remove();
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** From a copy, so that the checkout keeps its own build. Resolves with the tarball's path. */
async function pack(sources: string): Promise<string> {
  for (const path of SOURCES.split(" ")) cpSync(join(ROOT, path), join(sources, path), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(sources, "node_modules"));
  await output(["npm", "pack"], { cwd: sources, timeoutMs: 120_000 });
  // What `prepack` prints would come before the JSON.
  const json = await output(["npm", "pack", "--json", "--ignore-scripts"], { cwd: sources });
  const [packed] = JSON.parse(json) as Packed[];
  if (packed === undefined) throw new Error("npm pack told nothing");
  const paths = packed.files.map(({ path }) => path);
  const missing = NEEDED.filter((path) => !paths.includes(path));
  const ballast = paths.filter((path) => BALLAST.test(path));
  if (missing.length > 0) throw new Error(`the package lacks ${missing.join(", ")}`);
  if (ballast.length > 0) throw new Error(`the package has ${ballast.join(", ")}`);
  const { size, unpackedSize } = packed;
  say(`${packed.filename}: ${paths.length} files, ${size} bytes, ${unpackedSize} unpacked`);
  if (size > MAX_PACKED_BYTES || unpackedSize > MAX_UNPACKED_BYTES) throw new Error("the package has grown too large");
  return join(sources, packed.filename);
}

/** Installs it in an empty project and tries it. Resolves with the project; undefined where there is no such Node. */
async function checkOn(version: string, tarball: string): Promise<string | undefined> {
  const project = join(folder.path, `project-${version}`);
  let nodeFolder: string;
  try {
    nodeFolder = await folderOf(version);
  } catch (error) {
    if (!(error instanceof Skipped)) throw error;
    say(`SKIPPED Node ${version}: ${error.message}`);
    return undefined;
  }
  const env = { PATH: [nodeFolder, process.env["PATH"]].join(delimiter), NODE_OPTIONS: "", APITOKEN_TOKEN: "" };
  const here = { cwd: project, env, timeoutMs: 120_000 };
  mkdirSync(project);
  writeFileSync(join(project, "package.json"), '{ "private": true }\n');
  expectLines("the version of Node", await output(["node", "--version"], here), `v${version}\n`);
  await output(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", tarball], here);
  for (const program of ["apitokend", "apitoken"]) {
    expectLines(program, await output(["npx", program, "--version"], here), `${program} ${manifest.version}\n`);
    if (!(await output(["npx", program, "--help"], here)).includes(program)) throw new Error("no help");
  }
  // What the image runs, from the same build; it reads its scripts as it is loaded.
  const bundle = join(dirname(tarball), "dist/apitokend.js");
  expectLines("the bundle", await output(["node", bundle, "--version"], here), `apitokend ${manifest.version}\n`);
  await checkRunning(project, env);
  say(`Node ${version}: installed; both programs run; import and require create and verify a token`);
  return project;
}

async function checkRunning(project: string, env: Readonly<Record<string, string>>): Promise<void> {
  const here = { cwd: project };
  // Its private Redis keeps its files in the folder where it was started.
  const command = ["sh", "-ec", 'cd "$1" && exec node_modules/.bin/apitokend', "sh", project];
  const server = startServerProcess({ ...env, REDIS_URL: "", DATA_DIR: "" }, { command });
  try {
    const variables = { ...env, APITOKEN_SERVER: await server.listening() };
    writeFileSync(join(project, "esm.mjs"), ESM);
    writeFileSync(join(project, "commonjs.cjs"), COMMONJS);
    for (const program of ["esm.mjs", "commonjs.cjs"]) {
      const { stdout, stderr } = await run(["node", program], { ...here, env: variables });
      // No warning either.
      expectLines(program, stdout + stderr, PRINTED);
    }
    const table = await output(["npx", "apitoken", "-c", "CREATE API_TOKEN shell"], {
      ...here,
      env: variables,
    });
    if (!table.includes("api_token shell was successfully")) throw new Error(`apitoken printed ${table}`);
    if ((await server.stop("SIGTERM")) !== 0) throw new Error(`apitokend failed: ${server.printed.stderr}`);
  } finally {
    server.child.kill("SIGKILL");
  }
}

async function checkTypes(project: string): Promise<void> {
  const tools = ["typescript", "@types/node"].map((name) => `${name}@${manifest.devDependencies[name]}`);
  await output(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", ...tools], {
    cwd: project,
    timeoutMs: 300_000,
  });
  for (const [name, text] of Object.entries(TYPED)) writeFileSync(join(project, name), text);
  const check = async (module: string, files: readonly string[]) => {
    const options = ["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--target", "es2023", "--types", "node"];
    await output(["npx", "tsc", ...options, ...module.split(" "), ...files], { cwd: project });
    say(`TypeScript: ${files.join(" and ")} with ${module}`);
  };
  for (const module of ["nodenext", "node16"]) await check(`--module ${module}`, Object.keys(TYPED));
  await check("--module preserve --moduleResolution bundler", ["typed.mts"]);
}
