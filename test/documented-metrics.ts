// The table of docs/metrics.md.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";

const FILE = resolve(import.meta.dirname, "../../docs/metrics.md");

/** Each metric with its type and labels. */
export function documentedMetrics(): ReadonlyMap<
  string,
  { readonly type: string; readonly labels: readonly string[] }
> {
  const rows = [...readFileSync(FILE, "utf8").matchAll(/^\| (`.*?) \| (\w+) \| (.*?) ?\|/gm)];
  const words = (cell: string) => [...cell.matchAll(/`(\w+)`/g)].map(([, word = ""]) => word);
  return new Map(
    rows.flatMap(([, names = "", type = "", labels = ""]) =>
      words(names).map((name) => [name, { type, labels: words(labels) }] as const),
    ),
  );
}
