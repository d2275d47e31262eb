// The checker of histories, judged itself: by hand-written histories that keep or break one promise each, by histories of a
// server that keeps or breaks them at random, and by a judge of short ones that tries every order.
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { temporaryFolder } from "../harness.js";
import { type Entry, type History, type Operation, type Outcome, readHistories, saveHistory } from "./history.js";
import { check } from "./linearizability.js";
import { histories, isLinearizable } from "./random-histories.js";

/** `1-2 renew b: done 2` is an operation called at 1 ms and answered at 2 ms. Operations are divided by commas. */
function historyOf(text: string): History {
  return text.split(",").map((line, client): Entry => {
    const [, call, end, kind = "", secret = "", answer = "", generation] =
      /^\s*(\d+)-(\d*) (\w+) ?(\w*): (\w+) ?(\d*)$/.exec(line) ?? [];
    const outcomes: Readonly<Record<string, Outcome>> = {
      done: { kind: "done", generation: Number(generation) },
      exists: { kind: "refused", as: "exists" },
      missing: { kind: "refused", as: "missing" },
      current: { kind: "verified", as: "current", generation: Number(generation) },
      superseded: { kind: "verified", as: "superseded" },
      unknown: { kind: "verified", as: "unknown" },
      open: { kind: "open" },
    };
    const outcome = outcomes[answer];
    if (!outcome) throw new Error(`not an operation: ${line}`);
    const operation = (kind === "revoke" ? { kind } : { kind, secret }) as Operation;
    return { client, callMs: Number(call), returnMs: Number(end || call), operation, outcome };
  });
}

const KEPT: Readonly<Record<string, string>> = {
  nothing: "0- create a: open",
  "a life from beginning to end":
    "0-1 verify a: unknown, 2-3 create a: done 1, 4-5 create b: exists, 6-7 verify a: current 1, 8-9 renew c: done 2, 10-11 verify a: superseded, 12-13 renew d: done 3, 14-15 verify a: unknown, 16-17 revoke: done 3, 18-19 verify d: unknown, 20-21 revoke: missing, 22-23 renew e: missing",
  "a re-created token that begins anew":
    "0-1 create a: done 1, 2-3 renew b: done 2, 4-5 revoke: done 2, 6-7 create c: done 1, 8-9 verify b: unknown, 10-11 renew d: done 2",
  "concurrent renewals, in the order that their generations tell":
    "0-1 create a: done 1, 2-9 renew b: done 3, 3-8 renew c: done 2, 10-11 verify c: superseded, 12-13 verify b: current 3",
  "verifications during a renewal, from before and after it":
    "0-1 create a: done 1, 2-9 renew b: done 2, 3-4 verify a: current 1, 5-6 verify a: superseded, 7-8 verify b: current 2",
  "concurrent verifications that see a renewal in either order":
    "0-1 create a: done 1, 2-9 renew b: done 2, 3-8 verify a: superseded, 4-7 verify a: current 1",
  "an open renewal that happened":
    "0-1 create a: done 1, 2-3 renew b: open, 4-5 renew c: done 3, 6-7 verify b: superseded",
  "an open renewal that did not happen":
    "0-1 create a: done 1, 2-3 renew b: open, 4-5 renew c: done 2, 6-7 verify a: superseded",
  "an open renewal that happens long after its call":
    "0-1 create a: done 1, 2-3 renew b: open, 4-5 verify a: current 1, 6-7 renew c: done 2, 8-9 verify c: current 2, 10-11 verify c: superseded, 12-13 verify b: current 3",
  "an open renewal that is late and meets no token":
    "0-1 create a: done 1, 2-3 renew b: open, 4-5 revoke: done 1, 6-7 create c: done 1, 8-9 verify c: current 1",
  "an open renewal that happens to a token created after its call":
    "0-1 create a: done 1, 2-3 renew b: open, 4-5 revoke: done 1, 6-7 create c: done 1, 8-9 verify c: superseded",
  "a revocation racing with verifications":
    "0-1 create a: done 1, 2-9 revoke: done 1, 3-8 verify a: unknown, 4-7 verify a: current 1",
  "a revocation racing with renewals":
    "0-1 create a: done 1, 2-9 revoke: done 2, 3-8 renew b: done 2, 4-7 renew c: missing",
  "an open revocation and an open creation":
    "0-1 create a: done 1, 2-3 revoke: open, 4-5 create b: open, 6-7 verify a: current 1, 8-9 verify a: unknown, 10-11 renew c: done 2",
  "open operations that make up for a generation together":
    "0-1 create a: done 1, 2- renew b: open, 2- renew c: open, 2- renew d: open, 4-5 renew e: done 4",
  "a creation refused because of an open one":
    "0-1 create a: done 1, 2-3 revoke: done 1, 4-5 create b: open, 6-7 create c: exists",
  "a call in the millisecond of a return": "0-1 create a: done 1, 2-3 renew b: done 2, 3-4 verify a: current 1",
};

const BROKEN: Readonly<Record<string, string>> = {
  "an acknowledged creation is lost": "0-1 create a: done 1, 2-3 verify a: unknown",
  "an acknowledged creation is lost for whoever renews": "0-1 create a: done 1, 2-3 renew b: missing",
  "an acknowledged renewal is lost: the old secret is current again":
    "0-1 create a: done 1, 2-3 renew b: done 2, 4-5 verify a: current 1",
  "an acknowledged renewal is lost: another makes the same generation":
    "0-1 create a: done 1, 2-3 renew b: done 2, 4-5 renew c: done 2",
  "an acknowledged revocation is lost: the token is resurrected":
    "0-1 create a: done 1, 2-3 revoke: done 1, 4-5 verify a: current 1",
  "an acknowledged revocation is lost: the name is taken with nothing open":
    "0-1 create a: done 1, 2-3 revoke: done 1, 4-5 create b: exists",
  "a renewal is doubled: the generation grows by two for one":
    "0-1 create a: done 1, 2-3 renew b: done 2, 4-5 verify b: current 3",
  "a renewal is doubled: its own secret is superseded by it":
    "0-1 create a: done 1, 2-3 renew b: done 2, 4-5 verify b: superseded",
  "an open renewal is doubled": "0-1 create a: done 1, 2-3 renew b: open, 4-5 renew c: done 4",
  "a generation is skipped": "0-1 create a: done 1, 2-3 renew b: done 3",
  "a creation is doubled": "0-1 create a: done 1, 2-3 create b: done 1",
  "a revocation is doubled": "0-1 create a: done 1, 2-9 revoke: done 1, 3-8 revoke: done 1",
  "two secrets are alive":
    "0-1 create a: done 1, 2-9 renew b: done 2, 3-4 verify b: current 2, 5-6 verify a: current 1",
  "two concurrent renewals both win": "0-1 create a: done 1, 2-9 renew b: done 2, 2-9 renew c: done 2",
  "a read is stale: the old secret is current after the renewal returned":
    "0-1 create a: done 1, 2-9 renew b: done 2, 10-11 verify a: current 1, 12-13 verify b: current 2",
  "a secret is superseded before the renewal is called":
    "0-1 create a: done 1, 2-3 verify a: superseded, 4-5 renew b: done 2",
  "a secret is current before the renewal that makes it is called":
    "0-1 create a: done 1, 2-3 verify b: current 2, 4-5 renew b: done 2",
  "an open renewal happens before its call": "0-1 create a: done 1, 2-3 renew c: done 3, 4-5 renew b: open",
  "an open renewal is seen as done and then as undone":
    "0-1 create a: done 1, 2-3 renew b: open, 4-5 verify b: current 2, 6-7 verify a: current 1",
  "an open revocation is seen as done and then as undone":
    "0-1 create a: done 1, 2-3 revoke: open, 4-5 verify a: unknown, 6-7 verify a: current 1",
  "one open revocation ends two tokens":
    "0-1 create a: done 1, 2-3 revoke: open, 4-5 create b: done 1, 6-7 create c: done 1",
  "a renewal that was refused has made its secret":
    "0-1 renew a: missing, 2-3 create b: done 1, 4-5 verify a: current 1",
  "a secret that nobody made is current": "0-1 create a: done 1, 2-3 renew b: open, 4-5 verify c: current 2",
  "the secret before the previous one is still superseded":
    "0-1 create a: done 1, 2-3 renew b: done 2, 4-5 renew c: done 3, 6-7 verify a: superseded",
  "a superseded secret is forgotten too early": "0-1 create a: done 1, 2-3 renew b: done 2, 4-5 verify a: unknown",
  "a reader sees a mixture: the old secret with the new generation":
    "0-1 create a: done 1, 2-9 renew b: done 2, 3-8 verify a: current 2",
  "a re-created token goes on with the generations of the old one":
    "0-1 create a: done 1, 2-3 revoke: done 1, 4-5 create b: done 2",
  "a re-created token knows a secret of the old one":
    "0-1 create a: done 1, 2-3 revoke: done 1, 4-5 create b: done 1, 6-7 verify a: superseded",
  "a revocation ends another generation than there is": "0-1 create a: done 1, 2-3 renew b: done 2, 4-5 revoke: done 1",
  "renewals take effect against the order of time": "0-1 create a: done 1, 2-3 renew b: done 3, 4-5 renew c: done 2",
  "a token is missing with nothing that could have ended it":
    "0-1 create a: done 1, 2-3 renew b: open, 4-5 revoke: missing",
};

describe("linearizable:", () => {
  test.each(Object.entries(KEPT))("%s", (_name, text) => {
    expect(check(historyOf(text))).toEqual({ linearizable: true });
    expect(isLinearizable(historyOf(text))).toBe(true);
  });
});

describe("not linearizable:", () => {
  test.each(Object.entries(BROKEN))("%s", (_name, text) => {
    expect(check(historyOf(text))).toMatchObject({ linearizable: false });
    expect(isLinearizable(historyOf(text))).toBe(false);
  });
});

test("the evidence is the first answer that no order explains, and an order of what was before", () => {
  const history = historyOf(
    "0-1 create a: done 1, 2-9 renew b: done 2, 3-8 verify a: superseded, 10-11 verify a: current 1, 12-13 verify b: unknown",
  );
  const [create, renew, before, stale] = history;
  expect(check(history)).toEqual({
    linearizable: false,
    reason:
      "no order explains verify a by client 3 from 10 to 11 ms (current, generation 1) after the 3 answers before it, of which one order leaves generation 2 with b current and a superseded",
    unexplained: stale,
    explained: [create, renew, before],
  });
});

test("a search that takes too long is undecided, never linearizable", () => {
  const history = historyOf("0-1 create a: done 1, 2-3 renew b: done 2, 4-5 renew c: done 3");
  expect(check(history, { steps: 2 })).toEqual({ linearizable: undefined, reason: "undecided after 2 steps" });
  expect(check(history, { steps: 3 })).toEqual({ linearizable: true });
});

test("an answer from before its call is no history", () => {
  expect(() => check(historyOf("0-1 create a: done 1, 3-2 renew b: done 2"))).toThrow(RangeError);
});

const FAITHFUL = { answered: 8, "answer lost": 1, "never arrived": 1 };

describe("at random:", () => {
  test("what a faithful server leaves is linearizable, whichever answers are lost besides", () => {
    const run = { clients: 6, minLength: 0, maxLength: 60, flightMs: 8, fates: FAITHFUL, guesses: true };
    fc.assert(
      fc.property(histories(run), fc.infiniteStream(fc.nat(9)), (history, chances) => {
        expect(check(history)).toEqual({ linearizable: true });
        const lossy = history.flatMap((entry): Entry[] => {
          if (chances.next().value !== 0) return [entry];
          return entry.operation.kind === "verify" ? [] : [{ ...entry, outcome: { kind: "open" } }];
        });
        expect(check(lossy)).toEqual({ linearizable: true });
      }),
    );
  });

  test.each([0, 2, 8])(
    "of short histories with faults the checker says what trying all orders says: %d ms",
    (flightMs) => {
      const fates = { ...FAITHFUL, forgotten: 1, doubled: 1, stale: 1, "wrong generation": 1 };
      const run = { clients: 3, minLength: 3, maxLength: 7, flightMs, fates, guesses: true };
      fc.assert(
        fc.property(histories(run), (history) => {
          expect(check(history).linearizable).toBe(isLinearizable(history));
        }),
        { numRuns: 2000 },
      );
    },
  );

  test("of short histories of no sense at all it says so too", () => {
    const operations = ["create a", "create b", "renew a", "renew b", "revoke", "verify a", "verify b"];
    const answers = [
      "done 1",
      "done 2",
      "exists",
      "missing",
      "open",
      "current 1",
      "current 2",
      "superseded",
      "unknown",
    ];
    const line = fc
      .tuple(fc.nat(4), fc.nat(4), fc.constantFrom(...operations), fc.constantFrom(...answers))
      .filter(([, , operation, answer]) => {
        const isOfRead = /current|superseded|unknown/.test(answer);
        return isOfRead === operation.startsWith("verify");
      })
      .map(([callMs, flightMs, operation, answer]) => `${callMs}-${callMs + flightMs} ${operation}: ${answer}`);
    fc.assert(
      fc.property(fc.array(line, { minLength: 2, maxLength: 6 }), (lines) => {
        const history = historyOf(lines.join(","));
        expect(check(history).linearizable).toBe(isLinearizable(history));
      }),
      { numRuns: 2000 },
    );
  });

  test("500 entries of 16 clients with 30 open operations are decided", () => {
    const fates = { answered: 94, "answer lost": 3, "never arrived": 3 };
    const run = { clients: 16, minLength: 500, maxLength: 500, flightMs: 16, fates, guesses: false };
    for (const history of fc.sample(histories(run), { numRuns: 5, seed: 4 })) {
      expect(check(history)).toEqual({ linearizable: true });
    }
  });
});

const saved = await readHistories(join(import.meta.dirname, "histories"));

describe("saved histories:", () => {
  test("there are some", () => expect(saved.length).toBeGreaterThan(0));

  test.each(saved)("$title", ({ linearizable, history }) => {
    expect(check(history).linearizable).toBe(linearizable);
  });

  test("a failing one is saved beside another of its title, and read again", async () => {
    const folder = await temporaryFolder();
    const history = historyOf("0-1 create a: done 1, 2-3 verify a: unknown");
    const paths = [
      await saveHistory("A lost create (1)", history, folder.path),
      await saveHistory("A lost create (1)", [], folder.path),
    ];
    expect(paths).toEqual([join(folder.path, "a-lost-create-1.json"), join(folder.path, "a-lost-create-1-2.json")]);
    expect(await readHistories(folder.path)).toEqual([
      { title: "A lost create (1)", linearizable: false, history: [] },
      { title: "A lost create (1)", linearizable: false, history },
    ]);
    await folder.remove();
  });
});
