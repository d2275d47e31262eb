// npm run fuzz -- --cases N [--seed S] [--from I] [--only I]
// Exit code 1 and the command that runs the case again when something went wrong.
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { startFuzzer } from "./fuzz-run.js";

const PORTION = 2000;

const { values } = parseArgs({
  options: {
    cases: { type: "string", default: "20000" },
    seed: { type: "string", default: String(randomInt(2 ** 31)) },
    from: { type: "string", default: "0" },
    only: { type: "string" },
  },
});
const seed = Number(values.seed);
const first = Number(values.only ?? values.from);
const count = values.only === undefined ? Number(values.cases) : 1;
if (![seed, first, count].every(Number.isSafeInteger))
  throw new Error("--cases, --seed, --from and --only are numbers");

const startMs = performance.now();
const fuzzer = await startFuzzer();
let failures: readonly string[] = [];
let done = 0;
try {
  while (done < count && failures.length === 0) {
    const length = Math.min(PORTION, count - done);
    failures = await fuzzer.run(
      seed,
      Array.from({ length }, (_, i) => first + done + i),
    );
    done += length;
    const perSecond = Math.round((done * 1000) / (performance.now() - startMs));
    if (process.stdout.isTTY) process.stdout.write(`\r${done} of ${count} cases, ${perSecond}/s, seed ${seed} `);
  }
} finally {
  await fuzzer.stop();
}
const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
process.stdout.write(
  `\n${failures.join("\n\n")}\n${done} cases of seed ${seed} in ${seconds} s, ${failures.length} failures\n`,
);
process.exitCode = failures.length === 0 ? 0 : 1;
