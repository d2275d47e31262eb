// What the calls of one connection have in common: the client's certificate, and mostly the credential, too.
import { hash } from "node:crypto";
import type { Http2Session } from "node:http2";
import { type PeerCertificate, TLSSocket } from "node:tls";

export class Connection {
  /** The address at the other end, without its port. */
  readonly peer: string;
  readonly clientCertificate: PeerCertificate | undefined;
  #credential = "";
  #digest = "";

  constructor(peer: string, clientCertificate: PeerCertificate | undefined) {
    this.peer = peer;
    this.clientCertificate = clientCertificate;
  }

  /** SHA-256 of a credential, in base64url. The last one of a connection is kept, for most likely it comes again. */
  digestOf(credential: string): string {
    if (credential !== this.#credential) {
      this.#digest = hash("sha256", credential, "base64url");
      this.#credential = credential;
    }
    return this.#digest;
  }
}

const connections = new WeakMap<Http2Session, Connection>();

/** That of a session; undefined where the session has gone already. */
export function connectionOf(session: Http2Session | undefined): Connection {
  const known = session && connections.get(session);
  if (known !== undefined) return known;
  // Both are dear to ask for.
  const connection = new Connection(session?.socket.remoteAddress ?? "unknown", certificateOf(session));
  if (session !== undefined) connections.set(session, connection);
  return connection;
}

/** The client's certificate, if it was asked for one and it holds. */
function certificateOf(session: Http2Session | undefined): PeerCertificate | undefined {
  const socket = session?.socket;
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
  const certificate = socket.getPeerCertificate();
  return certificate.raw ? certificate : undefined;
}
