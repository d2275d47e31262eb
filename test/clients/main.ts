// The program behind `npm run test:clients`: clients of other languages and other people's tools against real servers.
// Not a part of `npm test`, for it installs what they need. What cannot be had is skipped; with CLIENTS_REQUIRED=1 that is
// a failure. `npm run test:clients -- go ghz` tries only those.
import { checkBufCurl, checkGhz, checkGrpcurl } from "./command-line-tools.js";
import { checkLanguage, LANGUAGES, type Report } from "./languages.js";
import { Skipped } from "./programs.js";

interface Part {
  readonly name: string;
  readonly check: (report: Report) => Promise<void>;
}

const isRequired = process.env["CLIENTS_REQUIRED"] === "1";
const client = (name: keyof typeof LANGUAGES): Part => {
  return { name, check: (report) => checkLanguage(name, LANGUAGES[name], report) };
};
// What takes longest on a new machine comes first: two parts run at a time.
const parts: readonly Part[] = [
  client("go"),
  client("python"),
  client("java"),
  { name: "grpcurl", check: checkGrpcurl },
  client("typescript"),
  { name: "ghz", check: checkGhz },
  { name: "buf-curl", check: checkBufCurl },
];

const names = parts.map(({ name }) => name);
const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !names.includes(name));
if (unknown.length > 0) {
  process.stderr.write(`test:clients: there is no ${unknown.join(", ")}; there are ${names.join(", ")}\n`);
  process.exit(2);
}

const counts = { passed: 0, failed: 0, skipped: 0 };
const waiting = parts.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
const runWaiting = async () => {
  for (let part = waiting.shift(); part !== undefined; part = waiting.shift()) await runPart(part);
};
await Promise.all([runWaiting(), runWaiting()]);
process.stdout.write(`clients: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
process.exitCode = counts.failed > 0 ? 1 : 0;

/** Its lines come out together, however many parts run at a time. */
async function runPart({ name, check }: Part): Promise<void> {
  process.stdout.write(`${name}: started\n`);
  const startMs = performance.now();
  const lines: string[] = [];
  try {
    await check((line) => lines.push(line));
    counts.passed += 1;
    lines.push("passed");
  } catch (error) {
    const isSkipped = error instanceof Skipped && !isRequired;
    counts[isSkipped ? "skipped" : "failed"] += 1;
    if (isSkipped) {
      process.stdout.write(`skipped: ${name}: ${error.message}\n`);
      return;
    }
    lines.push(`FAILED: ${error instanceof Error ? error.message : String(error)}`);
  }
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  process.stdout.write(
    `\n${name} (${seconds} s)\n${lines.map((line) => `  ${line.replaceAll("\n", "\n    ")}\n`).join("")}`,
  );
}
