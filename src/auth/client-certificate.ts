// A service's identity out of its client certificate, whose chain TLS has verified: its one URI SAN (RFC 5280, as SPIFFE
// uses it).
import type { PeerCertificate } from "node:tls";
import { unauthenticated } from "./metadata.js";

/**
 * The URI. Throws UNAUTHENTICATED without one, with several, and where Node had to quote a name: a name that needs
 * quoting is made to look like several.
 */
export function serviceUri({ subjectaltname = "", valid_to: validTo }: PeerCertificate): string {
  // TLS looks at it once a connection, and not at all when a session is resumed.
  if (Date.parse(validTo) < Date.now()) throw unauthenticated("the certificate has expired");
  if (subjectaltname.includes('"')) throw unauthenticated("the certificate's names need quoting");
  const uris = subjectaltname.split(", ").filter((name) => name.startsWith("URI:"));
  const [uri] = uris;
  if (uri === undefined || uris.length > 1) throw unauthenticated(`the certificate has ${uris.length} URIs`);
  return uri.slice("URI:".length);
}
