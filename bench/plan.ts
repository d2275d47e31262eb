// How much is measured: all of it, or a quick look that checks every reply and means nothing as a time.

export interface Plan {
  readonly isQuick: boolean;
  /** Fresh processes, for code is compiled and memory laid out differently in each. */
  readonly sets: number;
  /** Of each set. */
  readonly windows: number;
  readonly windowMs: number;
  readonly warmUpCalls: number;
  /** Tokens in the large Redis. */
  readonly populationThousands: number;
  /** Tokens of the user who has many. */
  readonly longList: number;
  /** Pairs of slices of a comparison of times, of each set. */
  readonly slices: number;
  readonly sliceMs: number;
  readonly starts: number;
}

export const FULL: Plan = {
  isQuick: false,
  sets: 5,
  windows: 3,
  windowMs: 3000,
  warmUpCalls: 25_000,
  populationThousands: 1000,
  longList: 100_000,
  slices: 5,
  sliceMs: 1000,
  starts: 7,
};

export const QUICK: Plan = {
  isQuick: true,
  sets: 1,
  windows: 1,
  windowMs: 1000,
  warmUpCalls: 300,
  populationThousands: 10,
  longList: 5000,
  slices: 2,
  sliceMs: 500,
  starts: 2,
};
