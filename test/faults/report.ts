// How results are told: a row for each run on the terminal, a row for each fault in the document.
import { grouped } from "./recorder.js";
import type { RunResult } from "./run.js";

/** A result with the Redis that it is of. */
export interface ReportedRun extends RunResult {
  readonly topology: string;
}

const COLUMNS: readonly (readonly [title: string, width: number, text: (run: ReportedRun) => string])[] = [
  ["seed", 10, ({ seed }) => String(seed)],
  ["topology", 27, ({ topology }) => topology],
  ["fault", 46, ({ fault }) => fault],
  ["acknowledged", 12, ({ acknowledged }) => String(acknowledged)],
  ["refused", 7, ({ refused }) => String(refused)],
  ["unknown", 7, ({ unknown }) => String(unknown)],
  ["lost", 4, ({ lost }) => String(lost.length)],
  ["doubled", 7, ({ doubled }) => String(doubled.length)],
  ["resurrected", 11, ({ resurrected }) => String(resurrected.length)],
  ["two alive", 9, ({ twoAlive }) => String(twoAlive.length)],
  ["violations", 10, ({ violations }) => String(violations.length)],
  ["other", 5, (run) => String(others(run))],
  ["recovery s", 10, ({ recoverySeconds }) => seconds(recoverySeconds)],
  ["late", 4, ({ isLate }) => (isLate ? "late" : "")],
  ["slowest s", 9, ({ slowestMs }) => seconds(slowestMs && slowestMs / 1000)],
];

/** The line above all rows. */
export function heading(): string {
  return line(COLUMNS.map(([title, width]) => [title, width]));
}

/** The line of one run. */
export function row(run: ReportedRun): string {
  return line(COLUMNS.map(([, width, text]) => [text(run), width]));
}

/** Everything that went wrong in a run, a sentence each. */
export function faultsOf(run: RunResult): readonly string[] {
  if (run.mayLose) return run.complaints;
  const { lost, doubled, resurrected, twoAlive, violations, broken, complaints } = run;
  const unexplained = violations.map(({ reason }) => `not linearizable: ${reason}`);
  return [...lost, ...doubled, ...resurrected, ...twoAlive, ...unexplained, ...broken, ...complaints];
}

/** A table in Markdown with a row for each fault and one for all, and the command that made it. */
export function markdown(runs: readonly ReportedRun[], command: string): string {
  const byFault = grouped(runs, ({ topology, fault }) => `${topology} | ${fault}`);
  const rows = [...byFault, ["all |", runs] as const].map(([of, group]) => [of, ...sums(group)]);
  const titles = ["topology | fault", ...SUMS.map(([title]) => title), "recovery s: median", "longest"];
  const rule = titles.map((title) => (title.includes("|") ? "---|---" : "--:"));
  const table = [titles, rule, ...rows].map((cells) => `| ${cells.join(" | ")} |`);
  return `\`\`\`sh\n${command}\n\`\`\`\n\n${table.join("\n")}\n`;
}

const SUMS: readonly (readonly [title: string, count: (run: ReportedRun) => number])[] = [
  ["runs", () => 1],
  ["histories", ({ histories }) => histories],
  ["acknowledged", ({ acknowledged }) => acknowledged],
  ["refused", ({ refused }) => refused],
  ["unknown", ({ unknown }) => unknown],
  ["lost", ({ lost }) => lost.length],
  ["doubled", ({ doubled }) => doubled.length],
  ["resurrected", ({ resurrected }) => resurrected.length],
  ["two alive", ({ twoAlive }) => twoAlive.length],
  ["violations", ({ violations }) => violations.length],
  ["other", others],
  ["late", ({ isLate }) => Number(isLate)],
];

function others({ broken, complaints }: RunResult): number {
  return broken.length + complaints.length;
}

function sums(runs: readonly ReportedRun[]): string[] {
  const times = runs.flatMap(({ recoverySeconds }) => recoverySeconds ?? []).sort((a, b) => a - b);
  return [
    ...SUMS.map(([, count]) => String(runs.reduce((total, run) => total + count(run), 0))),
    seconds(times[Math.floor(times.length / 2)]),
    seconds(times.at(-1)),
  ];
}

function seconds(number: number | undefined): string {
  if (number === undefined) return "";
  return Number.isFinite(number) ? number.toFixed(2) : "never";
}

/** Words to the left, numbers to the right. */
function line(cells: readonly (readonly [text: string, width: number])[]): string {
  const padded = cells.map(([text, width], at) => (at === 1 || at === 2 ? text.padEnd(width) : text.padStart(width)));
  return padded.join("  ");
}
