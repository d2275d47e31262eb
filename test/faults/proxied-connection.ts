// One connection that goes through a proxy: everything that either side sends, its end included, in order, as far and as
// late as the proxy's faults let it through.
import type { Socket } from "node:net";
import { setTimeout as delay, setImmediate } from "node:timers/promises";

/** Whether a connection is meant, by the first bytes that its client has sent so far (Latin-1, 1024 at most). */
export type Selection = (opening: string) => boolean;

/** What is done to connections now. */
export interface Faults {
  readonly isHeld: Selection;
  readonly delayMs: number;
  /** 0 = as they come. */
  readonly segmentBytes: number;
  readonly cut: Cut | undefined;
}

export interface Cut {
  readonly shouldCut: (request: Buffer) => boolean;
  readonly isReply: (bytes: Buffer) => boolean;
}

export const NO_FAULTS: Faults = { isHeld: () => false, delayMs: 0, segmentBytes: 0, cut: undefined };
const OPENING_BYTES = 1024;
const MAX_QUEUED_BYTES = 2 ** 20;

/** Both sockets must allow a half-open connection. */
export class ProxiedConnection {
  /** Resolves when both sides are closed. */
  readonly closed: Promise<unknown>;
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #directions: readonly Direction[];
  #opening = "";
  /** Set when a request was chosen to lose its reply. */
  #cut: Cut | undefined;

  constructor(client: Socket, server: Socket, options: { readonly faults: () => Faults; readonly onCut: () => void }) {
    this.#client = client;
    this.#server = server;
    this.closed = Promise.all([client, server].map((socket) => new Promise((done) => socket.on("close", done))));
    // Before the direction sees the same bytes, for they may decide on themselves.
    client.on("data", (bytes: Buffer) => {
      if (this.#opening.length < OPENING_BYTES) this.#opening += bytes.toString("latin1", 0, OPENING_BYTES);
    });
    const { faults, onCut } = options;
    const isHeld = (): boolean => faults().isHeld(this.#opening);
    const inspectRequest = (bytes: Buffer): boolean => {
      const { cut } = faults();
      if (this.#cut === undefined && cut?.shouldCut(bytes) === true) this.#cut = cut;
      return true;
    };
    const inspectReply = (bytes: Buffer): boolean => {
      if (this.#cut === undefined) return true;
      if (this.#cut.isReply(bytes) && !client.destroyed) {
        onCut();
        reset(client);
        // Not a reset: the server reads all requests before it meets the end.
        server.end();
      }
      return false;
    };
    this.#directions = [
      new Direction(client, server, { faults, isHeld, inspect: inspectRequest }),
      new Direction(server, client, { faults, isHeld, inspect: inspectReply }),
    ];
  }

  /** Forwards what may go on now. */
  pump(): void {
    for (const direction of this.#directions) void direction.pump();
  }

  reset(): void {
    reset(this.#client);
    reset(this.#server);
  }
}

interface Parcel {
  readonly content: Buffer | "end" | "reset";
  readonly arrivedMs: number;
}

interface DirectionOptions {
  readonly faults: () => Faults;
  readonly isHeld: () => boolean;
  /** Sees everything just before it goes on; false drops it. */
  readonly inspect: (bytes: Buffer) => boolean;
}

/** What goes from one socket to the other. */
class Direction {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #options: DirectionOptions;
  readonly #queue: Parcel[] = [];
  #queuedBytes = 0;
  #isPumping = false;

  constructor(from: Socket, to: Socket, options: DirectionOptions) {
    this.#from = from;
    this.#to = to;
    this.#options = options;
    from.on("data", (bytes: Buffer) => {
      this.#queuedBytes += bytes.length;
      if (this.#queuedBytes > MAX_QUEUED_BYTES) from.pause();
      this.#add(bytes);
    });
    from.on("end", () => this.#add("end"));
    from.on("error", () => this.#add("reset"));
  }

  async pump(): Promise<void> {
    if (this.#isPumping) return;
    this.#isPumping = true;
    const { faults, isHeld } = this.#options;
    for (let next = this.#queue[0]; next !== undefined && !isHeld(); next = this.#queue[0]) {
      const waitMs = next.arrivedMs + faults().delayMs - performance.now();
      if (waitMs > 0) {
        await delay(Math.ceil(waitMs));
        continue;
      }
      this.#queue.shift();
      await this.#forward(next.content);
    }
    this.#isPumping = false;
  }

  #add(content: Parcel["content"]): void {
    this.#queue.push({ content, arrivedMs: performance.now() });
    void this.pump();
  }

  async #forward(content: Parcel["content"]): Promise<void> {
    if (content === "reset") reset(this.#to);
    else if (content === "end") this.#to.end();
    else {
      if (this.#options.inspect(content)) await this.#write(content);
      this.#queuedBytes -= content.length;
      if (this.#queuedBytes <= MAX_QUEUED_BYTES && this.#from.isPaused()) this.#from.resume();
    }
  }

  async #write(bytes: Buffer): Promise<void> {
    const step = this.#options.faults().segmentBytes || bytes.length;
    for (let at = 0; at < bytes.length && this.#to.writable; at += step) {
      await new Promise((done) => this.#to.write(bytes.subarray(at, at + step), done));
      // The reader gets a chance to see each piece by itself.
      if (step < bytes.length) await setImmediate();
    }
  }
}

/**
 * Closes a socket by a reset, at once. `resetAndDestroy` ends it in order first: it waits for what a silent peer does not
 * read, and when the connection breaks meanwhile, Node closes it never. So the reset is asked for as Node does inside.
 */
function reset(socket: Socket): void {
  Object.assign(socket, { resetAndClosing: !socket.writableEnded }).destroy();
}
