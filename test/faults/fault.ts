// What a fault is to the runner, and what it finds when it strikes.
import { setTimeout as delay } from "node:timers/promises";
import type { Random } from "./random.js";
import type { Recorder } from "./recorder.js";
import type { RedisNode } from "./redis-node.js";
import type { Services } from "./services.js";
import type { Topology } from "./topologies.js";

/** The run in which a fault strikes. */
export interface Scene<T extends Topology = Topology> {
  readonly topology: T;
  readonly services: Services;
  readonly random: Random;
  readonly recorder: Recorder;
  /** The master that has the tokens of the first organization, which the probes use, and that organization's slot. */
  readonly victim: RedisNode;
  readonly slot: number;
  /** Says that something besides the tokens went wrong. */
  readonly complain: (text: string) => void;
}

/** Ends a fault; resolves when nothing of it is left. */
export type Heal = () => Promise<void>;

export interface Fault<T extends Topology = Topology> {
  readonly name: string;
  /** How often in the long form. */
  readonly runs: number;
  /** Not in the short form. */
  readonly isSlow?: boolean;
  /** Redis's own settings accept that it may lose something: that is counted and held against nobody. */
  readonly mayLose?: boolean;
  /**
   * Since when the service is given time to recover: since the end of the fault, or, where others take over, since it
   * struck. The recovery is awaited before `heal` then.
   */
  readonly recoversFrom: "strike" | "heal";
  /** What the service promises; a later recovery is told. */
  readonly recoversWithinS: number;
  /** Strikes, and holds for as long as the fault lasts where it lasts. A method, so that lists can mix topologies. */
  strike(scene: Scene<T>): Promise<Heal>;
}

/** A kind of Redis, with the faults that it is put through one after the other. */
export interface Setup<T extends Topology = Topology> {
  readonly title: string;
  readonly faults: readonly Fault<T>[];
  /** Settings of the services. */
  readonly env?: Readonly<Record<string, string>>;
  /** Why it cannot be had on this machine; undefined when it can. */
  missing?(): Promise<string | undefined>;
  start(): Promise<T>;
}

/** Where nobody takes over: how soon the service works when its Redis does. */
export const BACK_WITHIN_S = 2;

export const NOTHING: Heal = () => Promise.resolve();

/** Lets a fault last for a time between these, as chance has it. */
export async function hold({ random }: Scene, leastMs: number, mostMs = leastMs): Promise<void> {
  await delay(random.between(leastMs, mostMs));
}

/** Does it several times, a moment apart. */
export async function repeatedly(scene: Scene, times: number, act: () => unknown): Promise<void> {
  for (let time = 0; time < times; time += 1) {
    await act();
    await hold(scene, 50, 250);
  }
}
