// What all ways to deploy Redis have in common for the fault tests: its nodes, who is master, and being whole again.
import { setTimeout as delay } from "node:timers/promises";
import { eventually } from "../harness.js";
import { infoField, type RedisNode } from "./redis-node.js";

/** Real Redis servers on loopback, deployed in one of the ways that the service supports. */
export interface Topology {
  readonly kind: "standalone" | "sentinel" | "cluster";
  /** For apitokend's REDIS_URL. */
  readonly redisUrl: string;
  /** The servers that keep data. */
  readonly nodes: readonly RedisNode[];
  /** Who is master now, as the majority sees it. */
  masters(): Promise<readonly RedisNode[]>;
  /**
   * Ends every fault and starts what is down; resolves when all runs, the masters are as many as they should be, and
   * every replica has what its master has. Rejects when that takes longer than a minute.
   */
  healed(): Promise<void>;
  /** Ends all processes, and removes the folders that were made. */
  stop(): Promise<void>;
}

const HEALED_LIMIT_MS = 60_000;
const ANSWER_LIMIT_MS = 500;

/** What a node answers; undefined when it refuses or does not answer at once, as when it is down or suspended. */
export function answerOf(node: RedisNode, ...command: readonly (string | number)[]): Promise<unknown> {
  const answer = node.pid === undefined ? undefined : node.command(...command).catch(() => undefined);
  return Promise.race([answer, delay(ANSWER_LIMIT_MS, undefined, { ref: false })]);
}

/** Resumes and starts all of the nodes, and resolves when the check no longer rejects. */
export async function healNodes(nodes: readonly RedisNode[], check: () => Promise<void>): Promise<void> {
  await eventually(async () => {
    await startAll(nodes);
    await check();
  }, HEALED_LIMIT_MS);
}

async function startAll(nodes: readonly RedisNode[]): Promise<void> {
  await Promise.all(
    nodes.map(async (node) => {
      if (node.pid !== undefined) node.resume();
      await node.start();
    }),
  );
}

/** Throws unless the node is a master with that many replicas, which all have what it has. */
export async function checkReplication(master: RedisNode, replicas: readonly RedisNode[]): Promise<void> {
  const info = await master.command("INFO", "replication");
  if (infoField(info, "role") !== "master") throw new Error(`${master.name} is no master`);
  if (infoField(info, "connected_slaves") !== String(replicas.length)) throw new Error(`${master.name} lacks replicas`);
  const offset = Number(infoField(info, "master_repl_offset"));
  for (const replica of replicas) {
    const own = await replica.command("INFO", "replication");
    const isInSync =
      infoField(own, "role") === "slave" &&
      infoField(own, "master_link_status") === "up" &&
      infoField(own, "master_sync_in_progress") === "0" &&
      Number(infoField(own, "slave_repl_offset")) >= offset;
    if (!isInSync) throw new Error(`${replica.name} is not in sync with ${master.name}`);
  }
}
