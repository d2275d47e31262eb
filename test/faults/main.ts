// npm run faults -- [--long] [--seed N] [--only word] [--runs N] [--markdown FILE]
// Exit code 1, with the command that repeats the run, when anything that was acknowledged is lost or anything else breaks.
import { randomInt } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { CUTS, type CutPlace, cutReplies } from "./cut-replies.js";
import type { Fault, Setup } from "./fault.js";
import { saveHistory } from "./history.js";
import { faultsOf, heading, markdown, type ReportedRun, row } from "./report.js";
import { type Extent, type RunResult, run } from "./run.js";
import { SETUPS } from "./setups.js";
import { Stage } from "./stage.js";

const EXTENT: Extent = { clients: 16, restMs: 25, beforeMs: [400, 1500], afterMs: 500, acknowledged: 550 };
/** Replies cut at each place. */
const CUT_REPLIES = { long: 500, otherwise: 50 };
const HISTORIES = resolve(import.meta.dirname, "../../../test/faults/histories");
const SHOWN_FAULTS = 10;

const { values } = parseArgs({
  options: {
    long: { type: "boolean", default: false },
    seed: { type: "string", default: String(randomInt(1, 2 ** 30)) },
    only: { type: "string", default: "" },
    runs: { type: "string" },
    markdown: { type: "string" },
  },
});
const firstSeed = Number(values.seed);
const askedRuns = values.runs === undefined ? undefined : Number(values.runs);
if (![firstSeed, askedRuns ?? 0].every(Number.isSafeInteger)) throw new Error("--seed and --runs are numbers");

const results: ReportedRun[] = [];
const troubles: string[] = [];
let runsBegun = 0;
const startMs = performance.now();
let stage: Stage | undefined;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    void (stage?.close() ?? Promise.resolve()).finally(() => process.exit(130));
  });
}

print(heading());
for (const setup of SETUPS) {
  const faults = setup.faults.filter((fault) => isChosen(nameOf(setup, fault)));
  if (faults.length > 0) await runSetup(setup, faults);
}
for (const place of CUTS) if (isChosen(`replies cut ${place}`)) await runCuts(place);
if (values.markdown !== undefined) await writeFile(values.markdown, markdown(results, thisCommand()));
const minutes = ((performance.now() - startMs) / 60_000).toFixed(1);
print(`${results.length} runs from seed ${firstSeed} in ${minutes} minutes, ${troubles.length} with faults`);
for (const trouble of troubles) print(trouble);
process.exit(troubles.length === 0 ? 0 : 1);

async function runSetup(setup: Setup, faults: readonly Fault[]): Promise<void> {
  const missing = await setup.missing?.();
  if (missing !== undefined) return print(`skipped: ${setup.title}: ${missing}`);
  for (const fault of faults) {
    const runs = askedRuns ?? (values.long ? fault.runs : 1);
    for (let time = 0; time < runs; time += 1) {
      stage ??= await Stage.open(setup);
      await runFault(stage, setup, fault);
    }
  }
  await closeStage(setup);
}

async function runFault(on: Stage, setup: Setup, fault: Fault): Promise<void> {
  const [name, seed] = [nameOf(setup, fault), nextSeed()];
  try {
    await conclude(setup.title, name, await run(on, fault, { seed, extent: EXTENT, progress: showing(name) }));
  } catch (error) {
    // The next run begins with servers of its own.
    trouble(`${name}, seed ${seed}`, [`it could not be carried out: ${textOf(error)}`, repeating(name, seed, 1)]);
    await closeStage(setup);
  }
}

/** Closes the stage, after a last look at what all its runs have left. */
async function closeStage(setup: Setup): Promise<void> {
  if (stage === undefined) return;
  try {
    const changed = await stage.changed();
    if (changed.length > 0) trouble(setup.title, changed);
  } catch (error) {
    trouble(setup.title, [`it could not be looked at in the end: ${textOf(error)}`]);
  }
  await stage.close();
  stage = undefined;
}

async function runCuts(place: CutPlace): Promise<void> {
  const count = askedRuns ?? CUT_REPLIES[values.long ? "long" : "otherwise"];
  const name = `replies cut ${place}`;
  const result = await cutReplies(place, { seed: nextSeed(), count, progress: showing(name) });
  await conclude("standalone", name, result, count);
}

/** Prints the result, and keeps what is needed to look into its faults. */
async function conclude(topology: string, name: string, result: RunResult, repeatedRuns = 1): Promise<void> {
  results.push({ ...result, topology });
  print(row({ ...result, topology }));
  const faults = faultsOf(result);
  if (faults.length === 0) return;
  const { seed, fault, violations } = result;
  const saved = [];
  for (const { history } of violations)
    saved.push(`saved: ${await saveHistory(`${fault} ${seed}`, history, HISTORIES)}`);
  const more = faults.length > SHOWN_FAULTS ? [`and ${faults.length - SHOWN_FAULTS} more`] : [];
  const lines = [...faults.slice(0, SHOWN_FAULTS), ...more, ...saved, repeating(name, seed, repeatedRuns)];
  trouble(`${name}, seed ${seed}`, lines);
}

function trouble(title: string, lines: readonly string[]): void {
  const text = [title, ...lines].join("\n  ");
  print(text);
  troubles.push(text);
}

function nameOf(setup: Setup, fault: Fault): string {
  return `${setup.title}: ${fault.name}`;
}

function isChosen(name: string): boolean {
  return name.includes(values.only);
}

function nextSeed(): number {
  runsBegun += 1;
  return firstSeed + runsBegun - 1;
}

/** What makes these runs again. */
function thisCommand(): string {
  const options = [
    values.long ? "--long" : "",
    `--seed ${firstSeed}`,
    values.only === "" ? "" : `--only ${quoted(values.only)}`,
    askedRuns === undefined ? "" : `--runs ${askedRuns}`,
  ];
  return `npm run faults -- ${options.filter((option) => option !== "").join(" ")}`;
}

function repeating(name: string, seed: number, runs: number): string {
  return `npm run faults -- --seed ${seed} --only ${quoted(name)} --runs ${runs}`;
}

function showing(name: string): (state: { readonly acknowledged: number }) => void {
  return ({ acknowledged }) => {
    if (!process.stdout.isTTY) return;
    process.stdout.write(`\r\x1b[Krun ${runsBegun}, ${name}: ${acknowledged} acknowledged `);
  };
}

function print(text: string): void {
  if (process.stdout.isTTY) process.stdout.write("\r\x1b[K");
  process.stdout.write(`${text}\n`);
}

function textOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function quoted(word: string): string {
  return /^[\w./=-]+$/.test(word) ? word : `'${word}'`;
}
