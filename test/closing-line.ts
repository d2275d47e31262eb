// A jest reporter that ends a run with one line that counts its tests, for tools that read only the end.
import type { AggregatedResult } from "@jest/reporters";

export default class ClosingLine {
  onRunComplete(_contexts: unknown, results: AggregatedResult): void {
    const { numPassedTests, numFailedTests, numPendingTests, numRuntimeErrorTestSuites } = results;
    const failed = numFailedTests + numRuntimeErrorTestSuites;
    const skipped = numPendingTests === 0 ? "" : `, ${numPendingTests} skipped`;
    // At the exit, behind jest's own summary.
    process.once("exit", () => process.stdout.write(`\n${numPassedTests} passed, ${failed} failed${skipped}\n`));
  }
}
