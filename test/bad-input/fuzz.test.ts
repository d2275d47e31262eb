// 20,000 random cases from a seed of the day; `npm run fuzz` runs more.
import { randomInt } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { type Fuzzer, startFuzzer } from "./fuzz-run.js";
import { SAVED_CASES } from "./saved-cases.js";

const CASES = 20_000;

let fuzzer: Fuzzer;
beforeAll(async () => {
  fuzzer = await startFuzzer();
});
afterAll(() => fuzzer.stop());

test("cases that once failed do not fail", async () => {
  for (const saved of SAVED_CASES) expect(await fuzzer.runCase(saved)).toBeUndefined();
});

const seed = randomInt(2 ** 31);

test(`${CASES} random cases of seed ${seed} get an answer that is no fault of the server's, and it serves on`, async () => {
  const failures = await fuzzer.run(
    seed,
    Array.from({ length: CASES }, (_, index) => index),
  );
  expect(failures.join("\n\n")).toBe("");
}, 120_000);
