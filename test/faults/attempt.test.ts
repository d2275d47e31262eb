// The table of answers never takes "nobody knows" for "it did not happen".
import { expect, test } from "@jest/globals";
import { STATUS_OF } from "../../src/grpc/status.js";
import { answerOf } from "./attempt.js";

const reasons = [...Object.keys(STATUS_OF), "INTERNAL"];
const kindOf = (reason: string | undefined, code = "UNAVAILABLE") => answerOf({ code, reason, message: "" }).kind;

test("only what says so has not happened", () => {
  const refused = ["TOKEN_ALREADY_EXISTS", "TOKEN_NOT_FOUND"];
  const unapplied = ["OVERLOADED", "RATE_LIMITED", "STORE_UNAVAILABLE"];
  expect(reasons.filter((reason) => kindOf(reason) === "refused").sort()).toEqual(refused);
  expect(reasons.filter((reason) => kindOf(reason) === "unapplied").sort()).toEqual(unapplied);
});

test("without an answer of the service nobody knows", () => {
  for (const code of ["UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN"]) {
    expect(kindOf(undefined, code)).toBe("unanswered");
  }
  expect(kindOf("OUTCOME_UNKNOWN")).toBe("unanswered");
});

test("what no fault excuses is told", () => {
  for (const reason of ["INTERNAL", "REQUEST_ID_REUSED", "INVALID_FIELD", "ETAG_MISMATCH"]) {
    expect(kindOf(reason)).toBe("unexpected");
  }
});
