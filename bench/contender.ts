// What takes part in a comparison: a server, what it is asked, and what is a right answer.
import type { Part } from "./goals.js";
import type { Load } from "./load.js";
import type { Listening } from "./processes.js";

/** What a server is asked, and what is a right answer. */
export interface Question {
  /** `address`: of the server, which runs. */
  readonly load: (address: string) => Promise<Load> | Load;
  readonly isRight: (reply: Buffer) => boolean;
}

export interface Contender extends Question {
  /** By which goals find it. */
  readonly id: string;
  readonly title: string;
  /** A fresh process. */
  readonly start: () => Promise<Running>;
  /** How many answers one call gives; 1 where it is not said. */
  readonly answersPerCall?: number;
  /** Processes whose CPU time counts as its own: a Redis for it alone. */
  readonly pidsBeside?: readonly number[];
}

export type Running = Pick<Listening, "pid" | "address" | "stop">;

/** Contenders that run side by side, with the floor twice. */
export interface Group {
  /** By which `--only` finds it. */
  readonly name: Part;
  readonly contenders: readonly Contender[];
}

export const FLOOR = "floor";
export const FLOOR_AGAIN = "floor-again";
