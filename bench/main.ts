// npm run bench: compares the built server with a no-op on the same grpc-js, with other people's services, and with itself on
// more tokens and more cores. Everything it starts, it ends.
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { temporaryFolder } from "../test/harness.js";
import { measureParts, type Outcome } from "./parts.js";
import { FULL, type Plan, QUICK } from "./plan.js";
import { plotOf } from "./plot.js";
import { tell } from "./progress.js";
import { pageOf, reportOf, tableOf } from "./report.js";
import { createIdentity, startBenchRedis } from "./servers.js";

const PARTS = ["verification", "batches", "changes", "lists", "workers", "rivals", "size", "memory", "times"];
const USAGE = `Usage: npm run bench [-- --quick | --only word | --write]

  --quick      one short window each, within two minutes: checks every reply, and the numbers mean nothing
  --only word  only the parts whose name holds the word: ${PARTS.join(", ")}
  --write      put the table and the plot into docs/
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
  const isWanted = (part: string) => part.includes(options.only);
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

function write({ rows, raw, versions }: Outcome): void {
  const result = reportOf(rows, plan, process.argv.slice(2), versions);
  const target = join(ROOT, options.write ? "docs" : "dist", "performance");
  mkdirSync(resolve(target, ".."), { recursive: true });
  writeFileSync(`${target}.json`, `${JSON.stringify({ ...result, raw }, undefined, 2)}\n`);
  writeFileSync(`${target}.svg`, plotOf(rows));
  if (options.write) writeFileSync(`${target}.md`, pageOf(result));
  tell("");
  process.stdout.write(`${tableOf(result)}\n${target}.json has all of it.\n`);
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
    const isPartial = values.quick || values.only !== "";
    // A page that says less than it seems to, or nothing at all.
    if (values.write && isPartial) return refuse(USAGE);
    return PARTS.some((part) => part.includes(values.only)) ? values : refuse(USAGE);
  } catch {
    return refuse(USAGE);
  }
}

function refuse(text: string): never {
  process.stderr.write(text);
  process.exit(2);
}
