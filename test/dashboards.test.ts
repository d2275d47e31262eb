// What the dashboard and the alert rules ask Prometheus for is what docs/metrics.md lists; test/metrics.test.ts sees to it
// that a server serves that.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "@jest/globals";
import { documentedMetrics } from "./documented-metrics.js";

const read = (file: string) => readFileSync(resolve(import.meta.dirname, "../../deploy", file), "utf8");

const ALERTS = read("prometheus-alerts.yaml");
const alerts = [...ALERTS.matchAll(/^ +- alert: (\w+)\n +expr: (.*)$/gm)].map(([, name = "", expression = ""]) => ({
  name,
  expression,
}));

interface Dashboard {
  readonly panels: readonly { readonly title: string; readonly targets: readonly { readonly expr: string }[] }[];
}
const { panels } = JSON.parse(read("grafana-dashboard.json")) as Dashboard;
const queries = panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ name: title, expression: expr })));

/** What Prometheus itself puts on every sample. */
const TARGET_LABELS = ["job", "instance", "le"];
const WORDS = /\b(?:and|or|unless|by|without|on|ignoring|offset|bool)\b/g;

/** The metrics that a PromQL expression reads, each with the labels that its own selector names. */
function selectorsOf(expression: string): { metric: string; labels: string[] }[] {
  const bare = expression
    .replace(/"[^"]*"/g, '""')
    .replace(/\b(?:by|without|on|ignoring) ?\([^)]*\)/g, " ")
    .replace(/\[[^\]]*\]|\boffset \w+/g, " ")
    .replace(WORDS, " ");
  return [...bare.matchAll(/\b([a-z_]\w*)\b(?:\{([^}]*)\})?(?!\s*\()/g)].map(([, metric = "", labels = ""]) => ({
    metric: metric.replace(/_(?:bucket|sum|count)$/, ""),
    labels: [...labels.matchAll(/(\w+)[=!]/g)].map(([, label = ""]) => label),
  }));
}

test("metrics and labels are found in PromQL", () => {
  const expression =
    'sum by (le, b) (rate(a_bucket{x="y", z=~"u.*"}[5m])) / on (job) max(c) > 0.5 and d offset 1d == time()';
  expect(selectorsOf(expression)).toEqual([
    { metric: "a", labels: ["x", "z"] },
    { metric: "c", labels: [] },
    { metric: "d", labels: [] },
  ]);
});

test("there are alerts and panels, and every alert says what it means and what to do", () => {
  expect(alerts.length).toBeGreaterThan(10);
  expect(alerts).toHaveLength(ALERTS.match(/ alert: /g)?.length ?? 0);
  for (const word of ["severity", "summary", "description"])
    expect(ALERTS.match(new RegExp(`\\b${word}: `, "g"))).toHaveLength(alerts.length);
  expect(queries.length).toBeGreaterThan(20);
});

test.each([...alerts, ...queries])(
  "$name asks for metrics and labels that there are: $expression",
  ({ expression }) => {
    const documented = documentedMetrics();
    const selectors = selectorsOf(expression);
    expect(selectors.length).toBeGreaterThan(0);
    for (const { metric, labels } of selectors) {
      const known = documented.get(metric);
      expect([metric, known]).toEqual([metric, expect.anything()]);
      expect([...TARGET_LABELS, ...(known?.labels ?? [])]).toEqual(expect.arrayContaining(labels));
    }
    const grouped = [...expression.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = ""]) => list.split(", "));
    const all = selectors.flatMap(({ metric }) => documented.get(metric)?.labels ?? []);
    expect([...TARGET_LABELS, ...all]).toEqual(expect.arrayContaining(grouped));
  },
);
