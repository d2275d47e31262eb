// A single Redis over TCP, on a folder that may be small, with a proxy before it.
import { temporaryFolder } from "../harness.js";
import { startProxy, type TcpProxy } from "./proxy.js";
import { type RedisNode, startNode } from "./redis-node.js";
import { healNodes, type Topology } from "./topologies.js";

export interface StandaloneOptions {
  /** By default everysec. */
  readonly appendFsync?: "always" | "everysec";
  /** Where the data goes, and stays after `stop`; by default a temporary folder. */
  readonly folder?: string;
  /** More settings of Redis's configuration file. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Whether redisUrl leads through the proxy. */
  readonly proxied?: boolean;
}

export interface Standalone extends Topology {
  readonly kind: "standalone";
  readonly node: RedisNode;
  /** Leads to it. */
  readonly proxy: TcpProxy;
}

/** Starts one Redis. */
export async function startStandalone(options: StandaloneOptions = {}): Promise<Standalone> {
  const temporary = options.folder === undefined ? await temporaryFolder() : undefined;
  const settings = {
    save: '""',
    appendonly: "yes",
    appendfsync: options.appendFsync ?? "everysec",
    ...options.settings,
  };
  const node = await startNode({
    name: "redis",
    parentFolder: options.folder ?? temporary?.path ?? "",
    settings: Object.entries(settings).map(([name, value]) => `${name} ${value}`),
  });
  const proxy = await startProxy({ port: node.port });
  return {
    kind: "standalone",
    redisUrl: `redis://127.0.0.1:${(options.proxied ? proxy : node).port}`,
    nodes: [node],
    node,
    proxy,
    masters: () => Promise.resolve([node]),
    healed: async () => {
      await proxy.restore();
      await healNodes([node], () => Promise.resolve());
    },
    stop: async () => {
      await proxy.stop();
      await node.kill();
      await temporary?.remove();
    },
  };
}
