// Random cases that once failed, as the fuzzer printed them.
import type { FuzzCase } from "./fuzz-cases.js";

export const SAVED_CASES: readonly FuzzCase[] = [];
