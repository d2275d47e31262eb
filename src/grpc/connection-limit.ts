// How many connections there may be, in all and from one address, so that nobody can take all file handles.
import type { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import type { Logger } from "pino";

export interface ConnectionLimits {
  readonly maxConnections: number;
  readonly maxConnectionsPerPeer: number;
}

const LOG_INTERVAL_MS = 1000;

export class ConnectionLimit {
  readonly #limits: ConnectionLimits;
  readonly #log: Logger;
  readonly #openOf = new Map<string, number>();
  #open = 0;
  #loggedAtMs = Number.NEGATIVE_INFINITY;

  constructor(limits: ConnectionLimits, log: Logger) {
    this.#limits = limits;
    this.#log = log;
  }

  /** Closes connections to the server beyond the limits as they come. */
  watch(http2Server: EventEmitter): void {
    http2Server.prependListener("connection", (socket: Socket) => {
      const peer = socket.remoteAddress ?? "unknown";
      const ofPeer = (this.#openOf.get(peer) ?? 0) + 1;
      this.#openOf.set(peer, ofPeer);
      this.#open += 1;
      socket.once("close", () => this.#close(peer));
      const { maxConnections, maxConnectionsPerPeer } = this.#limits;
      if (this.#open <= maxConnections && ofPeer <= maxConnectionsPerPeer) return;
      this.#tell(peer);
      // Not before the other listeners have taken it over, for they count on a living socket.
      setImmediate(() => socket.destroy());
    });
  }

  #close(peer: string): void {
    const ofPeer = (this.#openOf.get(peer) ?? 0) - 1;
    if (ofPeer > 0) this.#openOf.set(peer, ofPeer);
    else this.#openOf.delete(peer);
    this.#open -= 1;
  }

  /** A flood of connections is no flood of the log. */
  #tell(peer: string): void {
    const nowMs = performance.now();
    if (nowMs - this.#loggedAtMs < LOG_INTERVAL_MS) return;
    this.#loggedAtMs = nowMs;
    this.#log.warn({ peer, open: this.#open, of_peer: this.#openOf.get(peer) }, "too many connections");
  }
}
