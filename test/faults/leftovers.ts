// That nothing of a topology outlives its stop.
import { processStart } from "../../src/redis/private/processes.js";
import type { RedisNode } from "./redis-node.js";
import type { Topology } from "./topologies.js";

/** Stops it; throws when one of its processes still runs. */
export async function stopAndLookForLeftovers(topology: Topology, nodes: readonly RedisNode[] = topology.nodes) {
  const pids = nodes.flatMap(({ pid }) => (pid === undefined ? [] : [pid]));
  await topology.stop();
  for (const pid of pids) {
    if ((await processStart(pid)) !== undefined) throw new Error(`process ${pid} still runs`);
  }
}
