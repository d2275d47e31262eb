// 20,000 random cases from a seed of the day; `npm run fuzz` runs more.
import { randomInt } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { type Fuzzer, IS_NODE_20, startFuzzer } from "./fuzz-run.js";
import { FATAL_TO_NODE_20, SAVED_CASES } from "./saved-cases.js";

const CASES = 20_000;

let fuzzer: Fuzzer;
beforeAll(async () => {
  fuzzer = await startFuzzer();
});
afterAll(() => fuzzer.stop());

test("cases that once failed do not fail", async () => {
  for (const saved of SAVED_CASES) expect(await fuzzer.runCase(saved)).toBeUndefined();
});

(IS_NODE_20 ? test.skip : test)(
  "four frames that end every HTTP/2 server on Node 20 do not end one on a newer Node",
  async () => {
    expect(await fuzzer.runCase(FATAL_TO_NODE_20)).toBeUndefined();
    expect(await fuzzer.run(1, [0])).toEqual([]);
  },
);

const seed = randomInt(2 ** 31);

test(`${CASES} random cases of seed ${seed} get an answer that is no fault of the server's, and it serves on`, async () => {
  const failures = await fuzzer.run(
    seed,
    Array.from({ length: CASES }, (_, index) => index),
  );
  expect(failures.join("\n\n")).toBe("");
}, 120_000);
