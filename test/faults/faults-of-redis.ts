// What can happen to a Redis that is alone: it dies, stops, forgets scripts, drops and pauses clients, and runs out of room.
import { rm, writeFile } from "node:fs/promises";
import { BACK_WITHIN_S, type Fault, hold, NOTHING, repeatedly, type Scene } from "./fault.js";
import type { SmallDisk } from "./small-disk.js";
import type { Standalone } from "./standalone.js";

/**
 * With `everysec` Redis answers before it has written anything while an earlier fsync takes its time, so that even its own
 * end, without the machine's, can take the last two seconds with it.
 */
export function sigkill(appendFsync: "always" | "everysec"): Fault {
  return {
    name: "Redis SIGKILL and restart",
    runs: appendFsync === "always" ? 50 : 10,
    mayLose: appendFsync === "everysec",
    recoversFrom: "heal",
    recoversWithinS: BACK_WITHIN_S,
    async strike(scene) {
      await scene.victim.kill();
      await hold(scene, 0, 300);
      return () => scene.victim.start();
    },
  };
}

/** It wakes with all that was sent to it meanwhile before it. */
export function sigstop(seconds: number): Fault {
  return {
    name: `Redis SIGSTOP ${seconds} s`,
    runs: seconds < 10 ? 5 : 3,
    isSlow: seconds > 1,
    recoversFrom: "heal",
    recoversWithinS: BACK_WITHIN_S,
    async strike(scene) {
      scene.victim.suspend();
      await hold(scene, seconds * 1000);
      return async () => scene.victim.resume();
    },
  };
}

export const scriptFlush: Fault = {
  name: "SCRIPT FLUSH",
  runs: 5,
  recoversFrom: "heal",
  recoversWithinS: BACK_WITHIN_S,
  async strike(scene) {
    await repeatedly(scene, 5, () => scene.victim.command("SCRIPT", "FLUSH"));
    return NOTHING;
  },
};

export const clientKill: Fault = {
  name: "CLIENT KILL",
  runs: 5,
  recoversFrom: "heal",
  recoversWithinS: BACK_WITHIN_S,
  async strike(scene) {
    await repeatedly(scene, 5, () => scene.victim.command("CLIENT", "KILL", "TYPE", "normal"));
    return NOTHING;
  },
};

/** `what`: every command waits, or those that write. It ends by itself: no command could end it. */
export function clientPause(what: "ALL" | "WRITE"): Fault {
  return {
    name: `CLIENT PAUSE ${what}`,
    runs: 5,
    recoversFrom: "heal",
    recoversWithinS: BACK_WITHIN_S,
    async strike(scene) {
      const pauseMs = scene.random.between(800, 1500);
      await scene.victim.command("CLIENT", "PAUSE", pauseMs, what);
      await hold(scene, pauseMs);
      return NOTHING;
    },
  };
}

export const maxmemory: Fault = {
  name: "maxmemory reached",
  runs: 5,
  recoversFrom: "heal",
  recoversWithinS: BACK_WITHIN_S,
  async strike(scene) {
    await scene.victim.command("CONFIG", "SET", "maxmemory", 1);
    await hold(scene, 500, 1000);
    return async () => {
      await scene.victim.command("CONFIG", "SET", "maxmemory", 0);
    };
  },
};

/** The service looks at the policy when it connects, and every minute; from then on it must let no change through. */
export const policyChanged: Fault = {
  name: "maxmemory-policy changed",
  runs: 5,
  recoversFrom: "heal",
  recoversWithinS: BACK_WITHIN_S,
  async strike(scene) {
    await scene.victim.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
    await scene.victim.command("CLIENT", "KILL", "TYPE", "normal");
    if (!(await acknowledgesNothing(scene, 4000))) {
      scene.complain("changes are acknowledged although Redis may evict tokens");
    }
    return async () => {
      await scene.victim.command("CONFIG", "SET", "maxmemory-policy", "noeviction");
    };
  },
};

/** With `always` Redis ends when it cannot write, with `everysec` it refuses changes. */
export function diskFull(appendFsync: "always" | "everysec"): Fault<Standalone & SmallDisk> {
  return {
    name: `disk full, AOF ${appendFsync}`,
    runs: 5,
    recoversFrom: "heal",
    recoversWithinS: BACK_WITHIN_S,
    async strike(scene) {
      const { topology, victim } = scene;
      await victim.command("CONFIG", "SET", "appendfsync", appendFsync);
      // What fills it writes as much as fits, and then fails.
      await writeFile(topology.fillerFile, Buffer.alloc(topology.diskBytes)).catch(() => undefined);
      if (!(await acknowledgesNothing(scene, 4000))) scene.complain("changes are acknowledged on a full disk");
      return async () => {
        await rm(topology.fillerFile);
        await victim.start();
        await victim.command("CONFIG", "SET", "appendfsync", "everysec");
      };
    },
  };
}

/** Resolves with true as soon as nothing was acknowledged for a while, with false when the limit passes before. */
async function acknowledgesNothing(scene: Scene, limitMs: number): Promise<boolean> {
  const endMs = performance.now() + limitMs;
  while (performance.now() < endMs) {
    const before = scene.recorder.acknowledged;
    await hold(scene, 400);
    if (scene.recorder.acknowledged === before) return true;
  }
  return false;
}
