// What the calls of one connection have in common: the client's certificate, and mostly the credential, too.
import { hash } from "node:crypto";
import type { PeerCertificate } from "node:tls";

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
