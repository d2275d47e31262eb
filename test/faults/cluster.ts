// A Redis Cluster of three masters with a replica each, and the live migration of a slot from one master to another.
import { eventually, temporaryFolder } from "../harness.js";
import { checkView, isSlotOwner, owns, parseNodes, type View } from "./cluster-view.js";
import { freePort } from "./free-port.js";
import { infoField, type RedisNode, startNode } from "./redis-node.js";
import { answerOf, checkReplication, healNodes, type Topology } from "./topologies.js";

const SLOTS = 16_384;
const MASTERS = 3;
const MIGRATE_LIMIT_MS = 5000;

export interface ClusterOptions {
  /** After how long a silent node counts as down; default 5000. */
  readonly nodeTimeoutMs?: number;
}

export interface MigrationOptions {
  /** Keys that move together; by default 10. With 1 the keys of a slot are apart for longest. */
  readonly keysPerStep?: number;
  /** Awaited after each step, while the slot is between two masters. */
  readonly pause?: (step: string) => Promise<unknown>;
}

export interface ClusterTopology extends Topology {
  readonly kind: "cluster";
  /** The master that most nodes hold for the owner of the slot. */
  masterOfSlot(slot: number): Promise<RedisNode>;
  /**
   * Moves a slot with its keys to another master, while clients go on. After a rejection the slot is between the two, and
   * a second call goes on with it.
   */
  migrateSlot(slot: number, to: RedisNode, options?: MigrationOptions): Promise<void>;
}

/** Starts six nodes; resolves when the cluster is ready. */
export async function startCluster({ nodeTimeoutMs = 5000 }: ClusterOptions = {}): Promise<ClusterTopology> {
  const folder = await temporaryFolder();
  const names = ["redis-1", "redis-2", "redis-3", "redis-4", "redis-5", "redis-6"];
  const nodes = await Promise.all(names.map((name) => startClusterNode(folder.path, name, nodeTimeoutMs)));
  const topology = new Cluster(nodes, () => folder.remove());
  await topology.create();
  return topology;
}

class Cluster implements ClusterTopology {
  readonly kind = "cluster";
  readonly redisUrl: string;
  readonly nodes: readonly RedisNode[];
  readonly #removeFolder: () => Promise<void>;

  constructor(nodes: readonly RedisNode[], removeFolder: () => Promise<void>) {
    this.nodes = nodes;
    this.#removeFolder = removeFolder;
    this.redisUrl = `redis+cluster://${nodes.map(({ port }) => `127.0.0.1:${port}`).join(",")}`;
  }

  /** Makes one cluster of fresh nodes. */
  async create(): Promise<void> {
    const [first] = this.nodes;
    if (first === undefined) throw new Error("no node");
    const masters = this.nodes.slice(0, MASTERS);
    const border = (at: number) => Math.ceil((at * SLOTS) / MASTERS);
    for (const [at, master] of masters.entries()) {
      // Each an epoch of its own, or they would have to settle it first.
      await master.command("CLUSTER", "SET-CONFIG-EPOCH", at + 1);
      await master.command("CLUSTER", "ADDSLOTSRANGE", border(at), border(at + 1) - 1);
    }
    for (const node of this.nodes.slice(1)) {
      const busPort = Number(
        await first.command("CONFIG", "GET", "cluster-port").then((pair) => (pair as string[])[1]),
      );
      await node.command("CLUSTER", "MEET", "127.0.0.1", first.port, busPort);
    }
    for (const [at, replica] of this.nodes.slice(MASTERS).entries()) {
      const id = String(await masters[at]?.command("CLUSTER", "MYID"));
      await eventually(() => replica.command("CLUSTER", "REPLICATE", id));
    }
    await this.healed();
  }

  async masters(): Promise<readonly RedisNode[]> {
    const views = await this.#views();
    return this.nodes.filter((node) => {
      const isMaster = (view: readonly View[]) => view.some((seen) => seen.port === node.port && isSlotOwner(seen));
      return views.filter(isMaster).length > views.length / 2;
    });
  }

  async masterOfSlot(slot: number): Promise<RedisNode> {
    const views = await this.#views();
    const votes = (node: RedisNode) =>
      views.filter((view) => view.some((seen) => seen.port === node.port && owns(seen, slot))).length;
    const owner = this.nodes.find((node) => votes(node) > views.length / 2);
    if (owner === undefined) throw new Error(`the nodes do not agree on who has slot ${slot}`);
    return owner;
  }

  async migrateSlot(slot: number, to: RedisNode, options: MigrationOptions = {}): Promise<void> {
    const { keysPerStep = 10, pause = () => Promise.resolve() } = options;
    const from = await this.masterOfSlot(slot);
    if (from === to) return;
    const [fromId, toId] = [await idOf(from), await idOf(to)];
    await to.command("CLUSTER", "SETSLOT", slot, "IMPORTING", fromId);
    await pause("importing");
    await from.command("CLUSTER", "SETSLOT", slot, "MIGRATING", toId);
    await pause("migrating");
    for (;;) {
      const keys = (await from.command("CLUSTER", "GETKEYSINSLOT", slot, keysPerStep)) as string[];
      if (keys.length === 0) break;
      await from.command("MIGRATE", "127.0.0.1", to.port, "", 0, MIGRATE_LIMIT_MS, "KEYS", ...keys);
      await pause(`moved ${keys.length}`);
    }
    // The new owner first: from then on it is the one with the higher epoch, whatever happens to the others.
    const masters = await this.masters();
    for (const master of [to, from, ...masters.filter((node) => node !== to && node !== from)]) {
      await master.command("CLUSTER", "SETSLOT", slot, "NODE", toId);
      await pause(`told ${master.name}`);
    }
  }

  async healed(): Promise<void> {
    await healNodes(this.nodes, async () => {
      const views = await this.#views();
      if (views.length < this.nodes.length) throw new Error("not all nodes answer");
      for (const view of views) checkView(view, this.nodes.length);
      const masters = await this.masters();
      if (masters.length !== MASTERS) throw new Error(`there are ${masters.length} masters`);
      const [view = []] = views;
      for (const master of masters) {
        const { id } = view.find(({ port }) => port === master.port) ?? {};
        const replicaPorts = view.filter(({ masterId }) => masterId === id).map(({ port }) => port);
        const replicas = this.nodes.filter(({ port }) => replicaPorts.includes(port));
        if (replicas.length === 0) throw new Error(`${master.name} has no replica`);
        await checkReplication(master, replicas);
      }
      for (const node of this.nodes) {
        const state = infoField(await node.command("CLUSTER", "INFO"), "cluster_state");
        if (state !== "ok") throw new Error(`the cluster is not well for ${node.name}`);
      }
    });
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.kill()));
    await this.#removeFolder();
  }

  /** What every node that answers says of all. */
  async #views(): Promise<View[][]> {
    const replies = await Promise.all(this.nodes.map((node) => answerOf(node, "CLUSTER", "NODES")));
    return replies.filter((reply) => typeof reply === "string").map(parseNodes);
  }
}

async function startClusterNode(parentFolder: string, name: string, nodeTimeoutMs: number): Promise<RedisNode> {
  return startNode({
    name,
    parentFolder,
    settings: [
      'save ""',
      "appendonly yes",
      "appendfsync everysec",
      "cluster-enabled yes",
      `cluster-port ${await freePort()}`,
      `cluster-node-timeout ${nodeTimeoutMs}`,
      "cluster-require-full-coverage no",
      "min-replicas-to-write 1",
      "min-replicas-max-lag 2",
      "repl-diskless-sync-delay 0",
    ],
  });
}

async function idOf(node: RedisNode): Promise<string> {
  return String(await node.command("CLUSTER", "MYID"));
}
