// The least of a gRPC client: frames over node:http2 on a few connections. For loads that need other messages each time and
// for times as a client sees them; a grpc-js client would mostly measure itself.
import { type ClientHttp2Session, connect } from "node:http2";

/** Where calls go to, and with what metadata. */
export interface Method {
  readonly address: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface Reply {
  /** `grpc-status`; -1 when the call ended without one. */
  readonly status: number;
  /** Of its frames. */
  readonly bytes: number;
}

export class GrpcConnection {
  readonly #sessions: readonly ClientHttp2Session[];
  readonly #headers: Readonly<Record<string, string>>;
  #calls = 0;

  constructor({ address, path, headers }: Method, connections = 1) {
    this.#sessions = Array.from({ length: connections }, () => {
      const session = connect(`http://${address}`);
      // Its calls tell.
      session.on("error", () => {});
      return session;
    });
    this.#headers = {
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    };
  }

  /** One call, its answer read to the end. Never rejects. */
  call(frame: Buffer): Promise<Reply> {
    this.#calls += 1;
    const session = this.#sessions[this.#calls % this.#sessions.length];
    if (session === undefined) throw new Error("there is no connection");
    return new Promise((done) => {
      let status = -1;
      let bytes = 0;
      const stream = session.request(this.#headers);
      const onHeaders = (headers: Readonly<Record<string, unknown>>) => {
        if (headers["grpc-status"] !== undefined) status = Number(headers["grpc-status"]);
      };
      stream.on("response", onHeaders);
      stream.on("trailers", onHeaders);
      stream.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
      });
      stream.on("error", () => {});
      stream.on("close", () => done({ status, bytes }));
      stream.end(frame);
    });
  }

  close(): void {
    for (const session of this.#sessions) session.destroy();
  }
}
