// The report: one table for the terminal, JSON for programs, a page for the documentation.
import { execFileSync } from "node:child_process";
import { cpus, totalmem } from "node:os";
import { type Goal, PARTS, type Row, verdictOf } from "./goals.js";
import type { Outcome, PartRow } from "./parts.js";
import type { Plan } from "./plan.js";
import { NODE_FLAGS } from "./processes.js";

export interface Report {
  readonly command: string;
  readonly machine: string;
  readonly versions: string;
  readonly isQuick: boolean;
  readonly rows: readonly MeasuredRow[];
  /** See Outcome. */
  readonly raw: Outcome["raw"];
}

type MeasuredRow = PartRow & { readonly commit: string };

export function reportOf({ rows, raw, versions }: Outcome, plan: Plan, args: readonly string[]): Report {
  const [cpu] = cpus();
  const gigabytes = Math.round(totalmem() / 2 ** 30);
  return {
    command: ["npm run bench", ...(args.length > 0 ? ["--", ...args] : [])].join(" "),
    machine: `${cpus().length} cores of ${cpu?.model ?? "an unknown kind"}, ${gigabytes} GB, Linux`,
    versions: `Node ${process.versions.node} (${NODE_FLAGS.join(" ")}), ${versions}`,
    isQuick: plan.isQuick,
    rows: rows.map((row) => ({ ...row, commit: commit() })),
    raw,
  };
}

/** An earlier report with those parts replaced that were measured again. Throws when it is of another machine. */
export function withParts(earlier: Report, again: Report): Report {
  if (earlier.machine !== again.machine || earlier.versions !== again.versions) {
    throw new Error(`docs/ has a report of ${earlier.machine}, with ${earlier.versions}: measure all parts again`);
  }
  const measured = new Set(again.rows.map(({ part }) => part));
  const rows = [...earlier.rows.filter(({ part }) => !measured.has(part)), ...again.rows];
  return {
    ...earlier,
    rows: rows.toSorted((a, b) => PARTS.indexOf(a.part) - PARTS.indexOf(b.part)),
    raw: { ...earlier.raw, ...again.raw },
  };
}

export function tableOf({ rows, isQuick, machine }: Report): string {
  const cells = [["what", "value", "middle half", "goal", "", ""], ...rows.map((row) => cellsOf(row, isQuick))];
  const widths = [0, 1, 2, 3, 4].map((at) => Math.max(...cells.map((row) => row[at]?.length ?? 0)));
  const lines = cells.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  const warning = isQuick ? "A quick look: every reply was checked, and the numbers mean nothing.\n" : "";
  return `${lines.join("\n")}\n\n${machine}\n${warning}`;
}

export function pageOf(report: Report): string {
  const { rows, command, machine, versions, isQuick } = report;
  const table = rows.map((row) => `| ${cellsOf(row, isQuick).join(" | ")} |`).join("\n");
  return `# Performance

Written by \`${command}\`; run it to see yours. Measured on ${machine}, with ${versions}, at ${commitsOf(rows)}.

![What one answer costs, as a ratio to a no-op gRPC call](performance.svg)

| what | value | middle half | goal | | |
|---|---|---|---|---|---|
${table}

**How.** The floor is a unary handler on the same grpc-js that does nothing: it takes VerifyToken's requests, with their
credential, and gives a reply of the same bytes. A ratio to the floor says how many answers come for the CPU time of one
no-op. All servers of a comparison run at the same time on one core, each saturated by an h2load of its own
(\`-c 4 -m 25 -t 1\`) on the other core, where Redis runs too; the operating system tells the CPU time of each process,
which is divided by its calls. That gives one ratio for each window of three seconds; the table has the median of fifteen,
three of each of five sets of fresh processes, after 25,000 calls to each. The floor runs twice in each comparison: where
those two differ by more than 5 %, the comparison is discarded. Before, every reply is checked with a grpc-js client, and
afterwards the bytes of each reply.

The server is the built one with a JWT for each call, metrics, rates that nothing reaches, \`LOG_LEVEL=warn\`, and a Redis
with \`appendfsync everysec\` on a unix socket; without TLS. Times are those of one client, after 25,000 calls to each server,
that alternates each second between the two that are compared, with many different tokens: five pairs of seconds of each of
five sets of fresh processes. Calls at a fixed rate go out when their time has come, whether or not earlier ones were answered.

The count of tokens for \`METRICS_ADDRESS\`, which one of all servers does at a steady pace, is left out where many tokens are
compared with few: where that was looked at, it took Redis some 20 ms a second while it went on.

Where the CPU time of a verification goes, and why a goal is not met: [hot-path.md](hot-path.md).

The rivals are one process each on the same Redis: oidc-provider with opaque access tokens and its one client in memory,
one Redis command for each question; better-auth with its keys in Redis alone, no rate limit, and its updates deferred.
`;
}

function cellsOf(row: Row, isQuick: boolean): string[] {
  const { what, number, spread, goal, unit, note = "" } = row;
  const middle = spread === undefined ? "" : spread.map((value) => value.toFixed(2)).join("-");
  return [
    what,
    number === undefined ? "-" : formatted(number, unit),
    middle,
    goalOf(goal),
    isQuick ? "" : verdictOf(row),
    note,
  ];
}

function formatted(number: number, unit: Row["unit"]): string {
  if (unit === "bytes" || unit === "ms") return `${number.toFixed(0)} ${unit === "ms" ? "ms" : "B"}`;
  return `${number.toFixed(2)}x`;
}

function goalOf({ least, most }: Goal = {}): string {
  if (least !== undefined && most !== undefined) return `${least}-${most}`;
  if (least !== undefined) return `>= ${least}`;
  return most === undefined ? "" : `<= ${most}`;
}

/** One commit, or several with the parts that were measured at each. */
function commitsOf(rows: readonly MeasuredRow[]): string {
  const commits = [...new Set(rows.map((row) => row.commit))];
  if (commits.length === 1) return commits.join();
  const partsAt = (of: string) => [...new Set(rows.filter((row) => row.commit === of).map(({ part }) => part))];
  return commits.map((of) => `${of} (${partsAt(of).join(", ")})`).join(" and ");
}

function commit(): string {
  try {
    const text = execFileSync("git", ["describe", "--always", "--dirty"], { encoding: "utf8", stdio: "pipe" });
    return `commit ${text.trim()}`;
  } catch {
    return "no commit";
  }
}
