// The program behind `npm run test:image`: does what deploy/Dockerfile says, instruction by instruction, in a root of its
// own instead of an image, and starts what comes out. For machines without a container engine; it needs root, and the
// folder of a Debian in place of the base image: debootstrap --variant=minbase bookworm FOLDER
import { spawn } from "node:child_process";
import { appendFileSync, chownSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { HealthClient, HealthCheckResponse_ServingStatus as ServingStatus } from "../../gen/grpc/health/v1/health.js";
import { expectLines, expectMatch, output, run } from "../clients/programs.js";
import { freePort } from "../faults/free-port.js";
import { eventually, rpcs, startRedis, temporaryFolder } from "../harness.js";
import { folderOf } from "../package/nodes.js";
import { type Instruction, inImage, type Stage, variablesOf } from "./dockerfile.js";
import { ENVIRONMENTS, IMAGE, ROOT } from "./manifests.js";

const NODE = "24.21.0";
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** Mounts what every container has, and runs the words from the fourth on in that root, as that user, in that folder. */
const ENTER = `mount --rbind /dev "$1/dev"; mount -t proc proc "$1/proc"
root=$1 user=$2 cwd=$3; shift 3; exec chroot --userspec="$user" "$root" /usr/bin/env -i -C "$cwd" "$@"`;

const [base] = process.argv.slice(2);
if (base === undefined || process.getuid?.() !== 0) {
  process.stderr.write("Usage, as root: npm run test:image -- FOLDER-OF-A-DEBIAN\n");
  process.exit(2);
}
const folder = await temporaryFolder();
try {
  const roots: Record<string, string> = {};
  for (const [index, stage] of IMAGE.entries()) {
    const root = join(folder.path, `stage-${index}`);
    await makeBase(root);
    await build(stage, root, roots);
    roots[stage.name] = root;
  }
  await tryImage(join(folder.path, `stage-${IMAGE.length - 1}`));
} finally {
  await folder.remove();
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** What node:24-bookworm-slim has: a Debian, Node with npm, and the user 1000. */
async function makeBase(root: string): Promise<void> {
  await output(["cp", "-a", base ?? "", root]);
  cpSync(join(await folderOf(NODE), "node"), join(root, "usr/local/bin/node"));
  const npm = join(dirname(process.env["npm_execpath"] ?? ""), "..");
  cpSync(npm, join(root, "usr/local/lib/node_modules/npm"), { recursive: true });
  for (const name of ["npm", "npx"]) {
    symlinkSync(`../lib/node_modules/npm/bin/${name}-cli.js`, join(root, "usr/local/bin", name));
  }
  appendFileSync(join(root, "etc/passwd"), "node:x:1000:1000::/home/node:/bin/bash\n");
  mkdirSync(join(root, "home/node"));
  chownSync(join(root, "home/node"), 1000, 1000);
}

async function build({ instructions }: Stage, root: string, roots: Readonly<Record<string, string>>): Promise<void> {
  let folderInside = "/";
  for (const { name, text, options } of instructions) {
    if (name === "WORKDIR") folderInside = text;
    mkdirSync(join(root, folderInside), { recursive: true });
    if (name === "COPY") copy(text, roots[options["from"] ?? ""] ?? ROOT, join(root, folderInside));
    if (name === "RUN") await runInside(root, folderInside, text, options);
    if (name === "COPY" || name === "RUN") say(`${name} ${text}`);
  }
}

/** A folder's content, not the folder itself, is what comes to the destination. */
function copy(text: string, from: string, into: string): void {
  const words = text.split(" ");
  const to = join(into, words.pop() ?? "");
  for (const word of words) {
    const source = join(from, word);
    const isIntoFolder = words.length > 1 || text.endsWith("/");
    cpSync(source, isIntoFolder ? join(to, basename(word)) : to, { recursive: true, verbatimSymlinks: true });
  }
}

async function runInside(root: string, cwd: string, text: string, options: Instruction["options"]): Promise<void> {
  const [, target = ""] = /type=secret,id=npmrc,target=([^,]+)$/.exec(options["mount"] ?? "") ?? [];
  // A builder lends its network, and the secret that is given it, to a command.
  const lent = [[join(homedir(), ".npmrc"), target]];
  for (const path of ["/etc/resolv.conf", "/etc/hosts", process.env["NODE_EXTRA_CA_CERTS"] ?? ""])
    lent.push([path, path]);
  const given = lent.filter(([from = "", to = ""]) => to !== "" && existsSync(from) && !existsSync(join(root, to)));
  for (const [from = "", to = ""] of given) cpSync(from, join(root, to), { dereference: true });
  const variables = ["NODE_EXTRA_CA_CERTS"]
    .filter((name) => process.env[name])
    .map((name) => `${name}=${process.env[name]}`);
  const command = enter(root, "0:0", cwd, ["HOME=/root", ...variables], ["sh", "-ec", text]);
  const { code, stdout, stderr } = await run(command, { timeoutMs: 400_000 });
  if (code !== 0) throw new Error(`${text}: exit code ${code}\n${stdout}${stderr}`);
  for (const [, to = ""] of given) rmSync(join(root, to));
}

function enter(
  root: string,
  user: string,
  cwd: string,
  variables: readonly string[],
  command: readonly string[],
): string[] {
  const inside = [root, user, cwd, `PATH=${PATH}`, ...variables, ...command];
  return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", ENTER, "sh", ...inside];
}

/** Starts its entry point as its user with what compose sets, asks for health, creates a token, and stops it. */
async function tryImage(root: string): Promise<void> {
  const [[user = ""], [cwd = ""]] = [inImage(IMAGE, "USER"), inImage(IMAGE, "WORKDIR")];
  const entrypoint = JSON.parse(inImage(IMAGE, "ENTRYPOINT")[0] ?? "") as string[];
  const lines = (variables: Readonly<Record<string, string>>) =>
    Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  const alone = await run(enter(root, user, cwd, lines(variablesOf(IMAGE)), entrypoint));
  expectLines("the exit code without settings", String(alone.code), "1");
  expectMatch("the refusal without settings", alone.stderr, /NODE_ENV=production needs authentication/);
  const shell = (script: string) => output(enter(root, user, cwd, [], ["sh", "-c", script]));
  expectLines("what its user may write in /app", await shell("find /app -writable ! -type l"), "");
  expectLines(
    "tools that were left in it",
    await shell("ls /app/node_modules | grep -E '^(typescript|jest|yaml)$'; true"),
    "",
  );
  say((await shell("du -sk /app")).trim().replace("\t", " kB in "));

  await output([process.execPath, join(ROOT, "dist/test/local-issuer.js"), "--dir", join(root, "run/local-issuer")]);
  await output(["chown", "-R", user, join(root, "run/local-issuer")]);
  const withoutRedis = lines({ ...ENVIRONMENTS["compose"], REDIS_URL: "", HOME: "/home/node" });
  const redisless = await run(enter(root, user, cwd, withoutRedis, entrypoint));
  expectLines("the exit code without REDIS_URL", String(redisless.code), "1");
  say(`without REDIS_URL it ends: ${redisless.stderr.trim().split("\n").at(-1)}`);
  const redis = await startRedis();
  await redis.client.config("SET", "port", String(await freePort()));
  const [, redisPort = ""] = (await redis.client.config("GET", "port")) as string[];
  const [bearers, services, health] = [await freePort(), await freePort(), await freePort()];
  const variables = lines({
    ...ENVIRONMENTS["compose"],
    LISTEN_ADDRESS: `127.0.0.1:${bearers}`,
    MTLS_LISTEN_ADDRESS: `127.0.0.1:${services}`,
    HEALTH_ADDRESS: `127.0.0.1:${health}`,
    REDIS_URL: `redis://127.0.0.1:${redisPort}`,
  });
  const [program = "", ...args] = enter(root, user, cwd, variables, entrypoint);
  const child = spawn(program, args, { stdio: "inherit" });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const client = new HealthClient(`127.0.0.1:${health}`, credentials.createInsecure());
  try {
    const answer = await eventually(() => rpcs(client).check({ service: "" }), 20_000);
    expectLines("health", String(answer.status), String(ServingStatus.SERVING));
    const jwt = readFileSync(join(root, "run/local-issuer/alice.jwt"), "utf8").trim();
    const shellOf = [process.execPath, join(ROOT, "dist/src/shell/main.js"), "--server", `127.0.0.1:${bearers}`];
    const table = await output(
      [...shellOf, "--ca-file", join(root, "run/local-issuer/ca.pem"), "-c", "CREATE API_TOKEN a"],
      {
        env: { APITOKEN_TOKEN: jwt },
      },
    );
    expectMatch("a created token", table, /api_token a was successfully/);
    // The first process of its namespace, as in a container: signals without a handler would not reach it.
    const [pid = ""] = (await output(["pgrep", "-P", String(child.pid)])).split("\n");
    process.kill(Number(pid), "SIGTERM");
    await exited;
    say("the entry point serves, creates a token over TLS, and ends at SIGTERM");
  } finally {
    client.close();
    child.kill("SIGKILL");
    await redis.stop();
  }
}
