// What can happen to a Redis that is several: masters die, stop or are cut off, replicas fail, and slots move.
import { eventually } from "../harness.js";
import type { ClusterTopology } from "./cluster.js";
import { BACK_WITHIN_S, type Fault, type Heal, hold, NOTHING } from "./fault.js";
import type { RedisNode } from "./redis-node.js";
import type { Sentinels } from "./sentinel.js";
import type { Topology } from "./topologies.js";

const FAILOVER_LIMIT_MS = 30_000;

interface Failover {
  /** Whether the master comes back as soon as another has taken over, or only after the recovery. */
  readonly isBackSoon: boolean;
  readonly recoversWithinS: number;
}

/** Sentinels that find a master down after 1 s. */
export const SENTINEL: Failover = { isBackSoon: false, recoversWithinS: 6 };
/**
 * A Cluster that finds a node down after 5 s. It has one replica for each master: until the old master is back, nobody can
 * confirm what the new one has.
 */
export const CLUSTER: Failover = { isBackSoon: true, recoversWithinS: 12 };

export function masterKill({ isBackSoon, recoversWithinS }: Failover): Fault {
  return {
    name: "master SIGKILL",
    runs: 20,
    recoversFrom: "strike",
    recoversWithinS,
    async strike({ topology, victim }) {
      const isReplaced = replacing(topology, victim);
      await victim.kill();
      return afterwards(isBackSoon, isReplaced, () => victim.start());
    },
  };
}

/** Another one takes over, and then the old one wakes, still thinks that it is the master, and has commands before it. */
export function masterStop({ isBackSoon, recoversWithinS }: Failover): Fault {
  return {
    name: "master SIGSTOP until another took over",
    runs: 5,
    isSlow: true,
    recoversFrom: "strike",
    recoversWithinS,
    async strike({ topology, victim }) {
      const isReplaced = replacing(topology, victim);
      victim.suspend();
      return afterwards(isBackSoon, isReplaced, async () => victim.resume());
    },
  };
}

/** `from`: whether the services can still reach the master that everybody else has left. */
export function partition(from: "everybody" | "everybody but services", runs: number): Fault<Sentinels> {
  return {
    name: `master partitioned from ${from}`,
    runs,
    recoversFrom: "strike",
    recoversWithinS: SENTINEL.recoversWithinS,
    async strike({ topology, victim }) {
      const isReplaced = replacing(topology, victim);
      topology.partition(victim, { from });
      return afterwards(false, isReplaced, async () => topology.reunite());
    },
  };
}

/** Nobody confirms changes: they are refused or unknown, and never acknowledged. */
export const replicasStop: Fault = {
  name: "all replicas SIGSTOP",
  runs: 5,
  recoversFrom: "heal",
  recoversWithinS: BACK_WITHIN_S,
  async strike(scene) {
    const { topology } = scene;
    const masters = await topology.masters();
    const replicas = topology.nodes.filter((node) => !masters.includes(node));
    for (const replica of replicas) replica.suspend();
    await hold(scene, 600, 900);
    return async () => {
      for (const replica of replicas) replica.resume();
    };
  },
};

/** Key by key, so that an organization is in two places for as long as possible. */
export const slotMigration: Fault<ClusterTopology> = {
  name: "slot migration",
  runs: 5,
  recoversFrom: "heal",
  recoversWithinS: BACK_WITHIN_S,
  async strike({ topology, victim, slot, random }) {
    const others = (await topology.masters()).filter((node) => node !== victim);
    await topology.migrateSlot(slot, random.pick(others), { keysPerStep: 1 });
    return NOTHING;
  },
};

/** Looks whether another has taken the old master's place; throws as long as none has. */
function replacing(topology: Topology, old: RedisNode): () => Promise<void> {
  const before = topology.masters();
  return async () => {
    const masters = await topology.masters();
    const isReplaced = !masters.includes(old) && masters.length === (await before).length;
    if (!isReplaced) throw new Error(`${old.name} is not replaced`);
  };
}

/** Does it when the old master is replaced: from now on, or when it is asked to heal. */
function afterwards(isSoon: boolean, isReplaced: () => Promise<void>, act: () => Promise<void>): Heal {
  const heal = async () => {
    await eventually(isReplaced, FAILOVER_LIMIT_MS);
    await act();
  };
  if (!isSoon) return heal;
  const healing = heal();
  healing.catch(() => {});
  return () => healing;
}
