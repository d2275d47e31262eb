// The histogram of our own, as Prometheus defines one, beside prom-client's.
import { expect, test } from "@jest/globals";
import { Histogram, Registry } from "prom-client";
import { DurationHistogram } from "../src/histogram.js";

test("it says what prom-client's own histogram would say", async () => {
  const [name, help, bounds] = ["a_seconds", "Help.", [0.001, 0.01, 0.1]];
  const [ours, theirs] = [new Registry(), new Registry()];
  const histogram = new DurationHistogram({ name, help, bounds, registry: ours });
  const reference = new Histogram({ name, help, buckets: bounds, labelNames: ["kind"], registers: [theirs] });
  for (const kind of ["x", "y"]) {
    const series = histogram.series({ kind });
    // A bound belongs to its own bucket.
    for (const seconds of [0, 0.001, 0.0011, 0.01, 0.05, 0.1, 0.2, 7]) {
      series.observe(seconds);
      reference.observe({ kind }, seconds);
    }
  }
  const lines = async (registry: Registry) => {
    const text = await registry.metrics();
    return text.replace(/\{(le="[^"]*"),(kind="\w")\}/g, "{$2,$1}").split("\n");
  };
  expect(await lines(ours)).toEqual(await lines(theirs));
});
