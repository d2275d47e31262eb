// A TCP proxy that does to its connections what networks do: silence, delay, small segments, resets, lost replies. It
// must not know what is spoken over it; whoever tells connections apart does it by their first bytes.
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { freePort } from "./free-port.js";
import { type Faults, NO_FAULTS, ProxiedConnection, type Selection } from "./proxied-connection.js";

export interface Target {
  /** By default 127.0.0.1. */
  readonly host?: string;
  readonly port: number;
}

/** Starts a proxy on a free loopback port; connections that it accepts lead to the target. */
export async function startProxy(target: Target): Promise<TcpProxy> {
  const proxy = new TcpProxy(target, await freePort());
  await proxy.restore();
  return proxy;
}

export class TcpProxy {
  readonly port: number;
  /** Where new connections lead; may be changed. */
  target: Target;
  /** How many replies `cutReplies` has lost. */
  cutCount = 0;
  #faults: Faults = NO_FAULTS;
  readonly #connections = new Set<ProxiedConnection>();
  #server: Server | undefined;

  constructor(target: Target, port: number) {
    this.target = target;
    this.port = port;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /**
   * Loses replies. A request for which `shouldCut` is true goes on; what comes back from then on is dropped, and with the
   * first of it that is a reply both sides are closed. By default everything is a reply, so on a connection with several
   * requests under way it may be that of an earlier one; the server then still gets and carries out all of them.
   */
  cutReplies(shouldCut: (request: Buffer) => boolean, isReply: (bytes: Buffer) => boolean = () => true): void {
    this.#faults = { ...this.#faults, cut: { shouldCut, isReply } };
  }

  /**
   * Accepts and forwards nothing in either direction, not even the end of a connection, as when a cable is cut. What is
   * under way then arrives when it ends, as TCP sends it again. `selection`: which connections; by default all.
   */
  blackHole(selection: Selection = () => true): void {
    this.#set({ ...this.#faults, isHeld: selection });
  }

  /** Everything takes that much longer, each way. */
  delay(ms: number): void {
    this.#set({ ...this.#faults, delayMs: ms });
  }

  /** Forwards in pieces of that many bytes, each by a write of its own. */
  segments(bytes: number): void {
    this.#set({ ...this.#faults, segmentBytes: bytes });
  }

  /** Resets all connections, on both sides. */
  reset(): void {
    for (const connection of this.#connections) connection.reset();
  }

  /** Refuses new connections. */
  refuse(): void {
    this.#server?.close();
    this.#server = undefined;
  }

  /** Ends every fault. */
  async restore(): Promise<void> {
    this.#set(NO_FAULTS);
    if (this.#server !== undefined) return;
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#accept(client));
    this.#server.listen(this.port, "127.0.0.1");
    await once(this.#server, "listening");
  }

  /** Closes everything. */
  async stop(): Promise<void> {
    this.refuse();
    const closed = [...this.#connections].map((connection) => connection.closed);
    this.reset();
    await Promise.all(closed);
  }

  #set(faults: Faults): void {
    this.#faults = faults;
    for (const connection of this.#connections) connection.pump();
  }

  #accept(client: Socket): void {
    const { host = "127.0.0.1", port } = this.target;
    const server = connect({ host, port, allowHalfOpen: true, noDelay: true });
    const connection = new ProxiedConnection(client, server, {
      faults: () => this.#faults,
      onCut: () => {
        this.cutCount += 1;
      },
    });
    this.#connections.add(connection);
    void connection.closed.then(() => this.#connections.delete(connection));
  }
}
