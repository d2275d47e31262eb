// A TCP proxy that does to its connections what networks do: silence, delay, small segments, resets, lost replies. It
// must not know what is spoken over it; whoever tells connections apart does it by their first bytes.
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as delay, setImmediate } from "node:timers/promises";
import { freePort } from "./free-port.js";

export interface Target {
  readonly host?: string;
  readonly port: number;
}

/** Whether a connection is meant, by the first bytes that its client has sent so far (Latin-1, 1024 at most). */
export type Selection = (opening: string) => boolean;

interface Cut {
  readonly shouldCut: (request: Buffer) => boolean;
  readonly isReply: (bytes: Buffer) => boolean;
}

const OPENING_BYTES = 1024;
const MAX_QUEUED_BYTES = 2 ** 20;

/** Starts a proxy on a free loopback port; connections that it accepts lead to the target. */
export async function startProxy(target: Target): Promise<TcpProxy> {
  const proxy = new TcpProxy(target, await freePort());
  await proxy.restore();
  return proxy;
}

export class TcpProxy {
  readonly port: number;
  /** New connections lead there; may be changed. */
  target: Target;
  /** How many connections were cut for their request. */
  cutCount = 0;
  /** What is done to the connections now. */
  readonly faults: Faults = { isHeld: () => false, delayMs: 0, segmentBytes: 0, cut: undefined };
  readonly #links = new Set<Link>();
  #server: Server | undefined;

  constructor(target: Target, port: number) {
    this.target = target;
    this.port = port;
  }

  /** How many connections are open. */
  get connectionCount(): number {
    return this.#links.size;
  }

  /**
   * Loses replies: when `shouldCut` says so, the request goes on, whatever comes back from then on is dropped, and both
   * sides are closed with its first bytes that are a reply (any are, by default), so when it was carried out.
   */
  cutReplies(shouldCut: (request: Buffer) => boolean, isReply: (bytes: Buffer) => boolean = () => true): void {
    this.faults.cut = { shouldCut, isReply };
  }

  /**
   * Accepts, and forwards nothing in either direction, not even the end of a connection, as when a cable is cut. What is
   * under way arrives when it ends, as TCP sends it again. `selection`: which connections; all by default.
   */
  blackHole(selection: Selection = () => true): void {
    this.faults.isHeld = selection;
    this.#pump();
  }

  /** Everything takes that much longer, each way. */
  delay(ms: number): void {
    this.faults.delayMs = ms;
  }

  /** Forwards in pieces of that many bytes, each with a write of its own. */
  segments(bytes: number): void {
    this.faults.segmentBytes = bytes;
  }

  /** Resets all connections, on both sides. */
  reset(): void {
    for (const link of this.#links) link.reset();
  }

  /** Refuses new connections. */
  refuse(): void {
    this.#server?.close();
    this.#server = undefined;
  }

  /** Ends every fault. */
  async restore(): Promise<void> {
    Object.assign(this.faults, { isHeld: () => false, delayMs: 0, segmentBytes: 0, cut: undefined });
    this.#pump();
    if (this.#server !== undefined) return;
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#accept(client));
    this.#server.listen(this.port, "127.0.0.1");
    await once(this.#server, "listening");
  }

  /** Closes everything. */
  async stop(): Promise<void> {
    this.refuse();
    const closed = [...this.#links].map((link) => link.closed);
    this.reset();
    await Promise.all(closed);
  }

  #accept(client: Socket): void {
    const { host = "127.0.0.1", port } = this.target;
    const server = connect({ host, port, allowHalfOpen: true, noDelay: true });
    const link = new Link(client, server, this);
    this.#links.add(link);
    void link.closed.then(() => this.#links.delete(link));
  }

  #pump(): void {
    for (const link of this.#links) link.pump();
  }
}

interface Faults {
  isHeld: Selection;
  delayMs: number;
  segmentBytes: number;
  cut: Cut | undefined;
}

/** One accepted connection and the one it leads to. */
class Link {
  readonly closed: Promise<unknown>;
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #requests: Direction;
  readonly #replies: Direction;
  #opening = "";
  /** Set when a request was chosen to lose its reply. */
  #cut: Cut | undefined;

  constructor(client: Socket, server: Socket, proxy: TcpProxy) {
    this.#client = client;
    this.#server = server;
    const { faults } = proxy;
    const isHeld = (): boolean => faults.isHeld(this.#opening);
    this.#requests = new Direction(client, server, faults, isHeld, (bytes) => {
      if (faults.cut?.shouldCut(bytes) === true) this.#cut ??= faults.cut;
      return true;
    });
    this.#replies = new Direction(server, client, faults, isHeld, (bytes) => {
      if (this.#cut === undefined) return true;
      if (!this.#cut.isReply(bytes) || client.destroyed) return false;
      proxy.cutCount += 1;
      client.resetAndDestroy();
      // Not a reset: the server reads all requests before it meets the end.
      server.end();
      return false;
    });
    client.prependListener("data", (bytes: Buffer) => {
      if (this.#opening.length < OPENING_BYTES) this.#opening += bytes.toString("latin1", 0, OPENING_BYTES);
    });
    this.closed = Promise.all([client, server].map((socket) => new Promise((done) => socket.on("close", done))));
  }

  pump(): void {
    void this.#requests.pump();
    void this.#replies.pump();
  }

  reset(): void {
    this.#client.resetAndDestroy();
    this.#server.resetAndDestroy();
  }
}

interface Parcel {
  readonly content: Buffer | "end" | "reset";
  readonly arrivedMs: number;
}

/** What goes from one socket to the other, in order, its end included. */
class Direction {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #faults: Readonly<Faults>;
  readonly #isHeld: () => boolean;
  /** Sees everything just before it goes on; false drops it. */
  readonly #inspect: (bytes: Buffer) => boolean;
  readonly #queue: Parcel[] = [];
  #queuedBytes = 0;
  #isBusy = false;

  constructor(
    from: Socket,
    to: Socket,
    faults: Readonly<Faults>,
    isHeld: () => boolean,
    inspect: (bytes: Buffer) => boolean,
  ) {
    this.#from = from;
    this.#to = to;
    this.#faults = faults;
    this.#isHeld = isHeld;
    this.#inspect = inspect;
    from.on("data", (bytes: Buffer) => {
      this.#queuedBytes += bytes.length;
      if (this.#queuedBytes > MAX_QUEUED_BYTES) from.pause();
      this.#add(bytes);
    });
    from.on("end", () => this.#add("end"));
    from.on("error", () => this.#add("reset"));
  }

  /** Forwards what may go on. */
  async pump(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    for (let next = this.#queue[0]; next !== undefined && !this.#isHeld(); next = this.#queue[0]) {
      const waitMs = next.arrivedMs + this.#faults.delayMs - performance.now();
      if (waitMs > 0) {
        await delay(Math.ceil(waitMs));
        continue;
      }
      this.#queue.shift();
      await this.#forward(next.content);
    }
    this.#isBusy = false;
  }

  #add(content: Parcel["content"]): void {
    this.#queue.push({ content, arrivedMs: performance.now() });
    void this.pump();
  }

  async #forward(content: Parcel["content"]): Promise<void> {
    if (content === "reset") this.#to.resetAndDestroy();
    else if (content === "end") this.#to.end();
    else {
      if (this.#inspect(content)) await this.#write(content);
      this.#queuedBytes -= content.length;
      if (this.#from.isPaused() && this.#queuedBytes < MAX_QUEUED_BYTES) this.#from.resume();
    }
  }

  async #write(bytes: Buffer): Promise<void> {
    const step = this.#faults.segmentBytes || bytes.length;
    for (let at = 0; at < bytes.length && !this.#to.destroyed; at += step) {
      await new Promise((done) => this.#to.write(bytes.subarray(at, at + step), done));
      // The reader gets a chance to see each piece by itself.
      if (step < bytes.length) await setImmediate();
    }
  }
}
