// npm run bench: compares the built server with a no-op on the same grpc-js, with other people's services, and with itself on
// more tokens and more cores. Everything it starts, it ends.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { temporaryFolder } from "../test/harness.js";
import { PARTS, type Part } from "./goals.js";
import { measureParts, type Outcome } from "./parts.js";
import { FULL, type Plan, QUICK } from "./plan.js";
import { plotOf } from "./plot.js";
import { tell } from "./progress.js";
import { pageOf, type Report, reportOf, tableOf, withParts } from "./report.js";
import { createIdentity, startBenchRedis } from "./servers.js";

const USAGE = `Usage: npm run bench [-- --quick | --only word] [--write]

  --quick      one short window each, within two minutes: checks every reply, and the numbers mean nothing
  --only word  only the parts whose name holds the word: ${PARTS.join(", ")}
  --write      put the table and the plot into docs/; with --only, in place of those parts there
`;
const ROOT = resolve(import.meta.dirname, "../..");

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));
const options = readOptions();
const hasTaskset = (process.env["PATH"] ?? "").split(delimiter).some((path) => existsSync(join(path, "taskset")));
if (!existsSync("/proc/self/schedstat") || !hasTaskset)
  refuse("The bench needs Linux, for the CPU time of a process, and taskset (of util-linux).\n");
const plan: Plan = options.quick ? QUICK : FULL;
const folder = await temporaryFolder();
const identity = await createIdentity();
const redis = await startBenchRedis();
let isDone = false;
try {
  const isWanted = (part: Part) => part.includes(options.only);
  const outcome = await measureParts({ redis, identity, folder: folder.path, plan, isWanted });
  write(outcome);
  for (const failure of outcome.failures) tell(`FAILED: ${failure}`);
  isDone = outcome.failures.length === 0;
} catch (error) {
  tell(error instanceof Error ? error.message : String(error));
} finally {
  await redis.stop();
  await identity.remove();
  await folder.remove();
}
process.exit(isDone ? 0 : 1);

function write(outcome: Outcome): void {
  const measured = reportOf(outcome, plan, process.argv.slice(2));
  tell("");
  process.stdout.write(tableOf(measured));
  const target = join(ROOT, options.write ? "docs" : "dist", "performance");
  const isPart = options.write && options.only !== "";
  const written = isPart ? withParts(JSON.parse(readFileSync(`${target}.json`, "utf8")) as Report, measured) : measured;
  mkdirSync(resolve(target, ".."), { recursive: true });
  writeFileSync(`${target}.json`, `${JSON.stringify(written, undefined, 2)}\n`);
  writeFileSync(`${target}.svg`, plotOf(written.rows));
  if (options.write) writeFileSync(`${target}.md`, pageOf(written));
  process.stdout.write(`\n${target}.json has all of it.\n`);
}

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        quick: { type: "boolean", default: false },
        write: { type: "boolean", default: false },
        only: { type: "string", default: "" },
      },
    });
    // A page that means nothing.
    if (values.write && values.quick) return refuse(USAGE);
    return PARTS.some((part) => part.includes(values.only)) ? values : refuse(USAGE);
  } catch {
    return refuse(USAGE);
  }
}

function refuse(text: string): never {
  process.stderr.write(text);
  process.exit(2);
}
