// A master and two replicas under three Sentinels, every one of them behind a proxy whose port it announces: so all that
// they, their replicas and the services say to each other can be cut.
import { randomBytes } from "node:crypto";
import { eventually, temporaryFolder } from "../harness.js";
import { startProxy, type TcpProxy } from "./proxy.js";
import { infoField, type RedisNode, startNode } from "./redis-node.js";
import { answerOf, checkReplication, healNodes, type Topology } from "./topologies.js";

const MASTER_NAME = "mymaster";
const QUORUM = 2;
const FAILOVER_TIMEOUT_MS = 2000;

export interface SentinelOptions {
  /** After how long a silent server counts as down; default 1000. */
  readonly downAfterMs?: number;
}

export interface PartitionOptions {
  readonly from: "everybody" | "everybody but services";
}

export interface Sentinels extends Topology {
  readonly kind: "sentinel";
  readonly sentinels: readonly RedisNode[];
  /** The proxy before a server or a Sentinel. */
  proxyOf(node: RedisNode): TcpProxy;
  /** Cuts the cables between these nodes and all others, and services too if said so. Replaces an earlier partition. */
  partition(isolated: RedisNode | readonly RedisNode[], options: PartitionOptions): void;
  /** Ends the partition. */
  reunite(): void;
}

/** A node with what it is known by to others. */
interface Member {
  readonly node: RedisNode;
  readonly proxy: TcpProxy;
  /** Of a Sentinel. */
  readonly id: string;
}

/** Starts three servers and three Sentinels; resolves when all know each other. */
export async function startSentinels({ downAfterMs = 1000 }: SentinelOptions = {}): Promise<Sentinels> {
  const folder = await temporaryFolder();
  const servers: Member[] = [];
  for (const name of ["redis-1", "redis-2", "redis-3"]) {
    servers.push(await startServer(folder.path, name, servers[0]));
  }
  const [master] = servers;
  if (master === undefined) throw new Error("no server");
  await eventually(() => checkReplication(master.node, nodesOf(servers.slice(1))));
  const sentinels = await Promise.all(
    ["sentinel-1", "sentinel-2", "sentinel-3"].map((name) => startSentinel(folder.path, name, master, downAfterMs)),
  );
  const topology = new SentinelTopology(servers, sentinels, () => folder.remove());
  await topology.healed();
  return topology;
}

class SentinelTopology implements Sentinels {
  readonly kind = "sentinel";
  readonly redisUrl: string;
  readonly nodes: readonly RedisNode[];
  readonly sentinels: readonly RedisNode[];
  readonly #members: readonly Member[];
  readonly #removeFolder: () => Promise<void>;

  constructor(servers: readonly Member[], sentinels: readonly Member[], removeFolder: () => Promise<void>) {
    this.nodes = nodesOf(servers);
    this.sentinels = nodesOf(sentinels);
    this.#members = [...servers, ...sentinels];
    this.#removeFolder = removeFolder;
    const addresses = sentinels.map(({ proxy }) => `127.0.0.1:${proxy.port}`);
    this.redisUrl = `redis+sentinel://${addresses.join(",")}/${MASTER_NAME}`;
  }

  async masters(): Promise<readonly RedisNode[]> {
    const ask = (sentinel: RedisNode) => answerOf(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME);
    const addresses = (await Promise.all(this.sentinels.map(ask))) as (readonly string[] | undefined)[];
    const ports = addresses.map((address) => Number(address?.[1]));
    const votes = (node: RedisNode) => ports.filter((port) => port === this.proxyOf(node).port).length;
    return this.nodes.filter((node) => votes(node) >= QUORUM);
  }

  async healed(): Promise<void> {
    await Promise.all(this.#members.map(({ proxy }) => proxy.restore()));
    await healNodes([...this.nodes, ...this.sentinels], async () => {
      const [master] = await this.masters();
      if (master === undefined) throw new Error("the Sentinels do not agree on a master");
      const replicas = this.nodes.filter((node) => node !== master);
      await checkReplication(master, replicas);
      for (const sentinel of this.sentinels) await this.#checkView(sentinel, master);
    });
  }

  async stop(): Promise<void> {
    await Promise.all(this.#members.map(({ node }) => node.kill()));
    await Promise.all(this.#members.map(({ proxy }) => proxy.stop()));
    await this.#removeFolder();
  }

  proxyOf(node: RedisNode): TcpProxy {
    return this.#memberOf(node).proxy;
  }

  partition(isolated: RedisNode | readonly RedisNode[], { from }: PartitionOptions): void {
    const nodes = "name" in isolated ? [isolated] : isolated;
    for (const { node, proxy } of this.#members) {
      const isInside = nodes.includes(node);
      proxy.blackHole((opening) => {
        const sender = this.#senderOf(opening);
        if (sender === "service") return isInside && from === "everybody";
        // A replica's first PING, before it has said which one it is, goes through: nothing hangs on its answer.
        return sender !== undefined && nodes.includes(sender) !== isInside;
      });
    }
  }

  reunite(): void {
    for (const { proxy } of this.#members) proxy.blackHole(() => false);
  }

  #memberOf(node: RedisNode): Member {
    const member = this.#members.find((candidate) => candidate.node === node);
    if (member === undefined) throw new Error(`${node.name} is none of these`);
    return member;
  }

  /** Who opened a connection; undefined when its first bytes do not tell yet. */
  #senderOf(opening: string): RedisNode | "service" | undefined {
    const [, id] = /SETNAME\r\n\$\d+\r\nsentinel-([0-9a-f]{8})-/.exec(opening) ?? [];
    if (id !== undefined) return this.#members.find((member) => member.id.startsWith(id))?.node;
    const [, port] = /REPLCONF\r\n\$14\r\nlistening-port\r\n\$\d+\r\n(\d+)\r\n/.exec(opening) ?? [];
    if (port !== undefined) return this.#members.find(({ proxy }) => proxy.port === Number(port))?.node;
    return opening === "" || opening.startsWith("*1\r\n$4\r\nPING\r\n") ? undefined : "service";
  }

  /** Throws unless the Sentinel sees that master, both replicas and both other Sentinels, and all of them well. */
  async #checkView(sentinel: RedisNode, master: RedisNode): Promise<void> {
    const ask = (what: string) => sentinel.command("SENTINEL", what, MASTER_NAME);
    const own = pairs((await ask("MASTER")) as string[]);
    const replicas = ((await ask("REPLICAS")) as string[][]).map(pairs);
    const others = ((await ask("SENTINELS")) as string[][]).map(pairs);
    const isWell =
      own.get("flags") === "master" &&
      own.get("port") === String(this.proxyOf(master).port) &&
      replicas.length === this.nodes.length - 1 &&
      replicas.every((replica) => replica.get("flags") === "slave" && replica.get("master-link-status") === "ok") &&
      others.length === this.sentinels.length - 1 &&
      others.every((other) => other.get("flags") === "sentinel");
    if (!isWell) throw new Error(`${sentinel.name} does not see everybody well`);
    const state = await sentinel.command("INFO", "sentinel");
    if (infoField(state, "sentinel_tilt") !== "0") throw new Error(`${sentinel.name} has lost trust in its clock`);
  }
}

/** A server that is a replica of the master, if one is given. */
async function startServer(parentFolder: string, name: string, master: Member | undefined): Promise<Member> {
  const proxy = await startProxy({ port: 0 });
  const node = await startNode({
    name,
    parentFolder,
    settings: [
      'save ""',
      "appendonly yes",
      "appendfsync everysec",
      "min-replicas-to-write 1",
      "min-replicas-max-lag 2",
      "repl-diskless-sync-delay 0",
      "replica-announce-ip 127.0.0.1",
      `replica-announce-port ${proxy.port}`,
      ...(master === undefined ? [] : [`replicaof 127.0.0.1 ${master.proxy.port}`]),
    ],
  });
  proxy.target = { port: node.port };
  return { node, proxy, id: "" };
}

async function startSentinel(parentFolder: string, name: string, master: Member, downAfterMs: number): Promise<Member> {
  const proxy = await startProxy({ port: 0 });
  const id = randomBytes(20).toString("hex");
  const node = await startNode({
    name,
    parentFolder,
    isSentinel: true,
    settings: [
      `sentinel myid ${id}`,
      "sentinel announce-ip 127.0.0.1",
      `sentinel announce-port ${proxy.port}`,
      `sentinel monitor ${MASTER_NAME} 127.0.0.1 ${master.proxy.port} ${QUORUM}`,
      `sentinel down-after-milliseconds ${MASTER_NAME} ${downAfterMs}`,
      `sentinel failover-timeout ${MASTER_NAME} ${FAILOVER_TIMEOUT_MS}`,
    ],
    // What it does every 2 and 10 s, and waits 8 and 30 s for, it does sooner: tests wait for it.
    prepare: (sentinel) =>
      sentinel.command("SENTINEL", "DEBUG", "PUBLISH-PERIOD", 500, "INFO-PERIOD", 1000, "TILT-PERIOD", 2000),
  });
  proxy.target = { port: node.port };
  return { node, proxy, id };
}

function nodesOf(members: readonly Member[]): RedisNode[] {
  return members.map(({ node }) => node);
}

function pairs(flat: readonly string[]): ReadonlyMap<string, string> {
  return new Map(flat.flatMap((name, at) => (at % 2 === 0 ? [[name, flat[at + 1] ?? ""] as const] : [])));
}
