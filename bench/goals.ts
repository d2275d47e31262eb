// What is to be reached, and what a row of the report is.

/** In the order of the table. */
export const PARTS = [
  "verification",
  "stack",
  "batches",
  "changes",
  "lists",
  "workers",
  "rivals",
  "memory",
  "size",
  "times",
] as const;
export type Part = (typeof PARTS)[number];

/** One row of the table. */
export interface Row {
  readonly what: string;
  /** undefined = not measured; `note` says why. */
  readonly number: number | undefined;
  readonly unit: Unit;
  readonly goal?: Goal | undefined;
  /** The middle half of all windows. */
  readonly spread?: readonly [low: number, high: number];
  readonly note?: string;
}

/** `floor`: a ratio to the floor. */
export type Unit = "floor" | "ratio" | "bytes" | "ms";

export interface Goal {
  readonly least?: number;
  readonly most?: number;
}

export type Verdict = "met" | "not met" | "";

export function verdictOf({ number, goal }: Row): Verdict {
  if (number === undefined || goal === undefined) return "";
  return number >= (goal.least ?? Number.NEGATIVE_INFINITY) && number <= (goal.most ?? Number.POSITIVE_INFINITY)
    ? "met"
    : "not met";
}

/** By contender: against the floor. */
export const FLOOR_GOALS: Readonly<Record<string, Goal>> = {
  verify: { least: 0.75 },
  "verify-wrong-checksum": { least: 0.95 },
  "verify-10": { least: 2.5 },
  "verify-50": { least: 3.5 },
  renew: { least: 0.55 },
};

/** How much the second costs over the first, of contenders of one group. */
export const PAIR_GOALS: readonly {
  readonly above: string;
  readonly below: string;
  readonly what: string;
  readonly goal: Goal;
}[] = [
  {
    above: "verify-few",
    below: "verify-many",
    what: "VerifyToken with many tokens stored against few (CPU of server and Redis)",
    goal: { least: 0.95 },
  },
  {
    above: "oidc-provider",
    below: "verify-beside-rivals",
    what: "VerifyToken against oidc-provider's introspection",
    goal: { least: 4 },
  },
  {
    above: "better-auth",
    below: "verify-beside-rivals",
    what: "VerifyToken against better-auth's verifyApiKey",
    goal: { least: 7 },
  },
  {
    above: "workers-2",
    below: "workers-1",
    what: "CPU of a VerifyToken, two workers against one",
    goal: { most: 1.15 },
  },
];

export const AA_GOAL: Goal = { least: 0.95, most: 1.05 };
export const LIST_GOAL: Goal = { most: 1.3 };
export const MEMORY_GOAL: Goal = { most: 500 };
export const AT_1000_GOAL: Goal = { most: 1.4 };
export const ONE_UNDER_WAY_GOAL: Goal = { most: 1.3 };
export const START_GOAL: Goal = { most: 500 };
