// The certificates of certificates.ts against node:tls: which a mutual TLS server lets in, and how Node names them.
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer, type TLSSocket } from "node:tls";
import { beforeAll, expect, test } from "@jest/globals";
import {
  type Authority,
  type Certificate,
  type CertificateOptions,
  createAuthority,
  selfSigned,
} from "./certificates.js";

const HOUR_MS = 3_600_000;
const CLIENT: CertificateOptions = { commonName: "gateway", usage: "client", uris: ["spiffe://example.org/gateway"] };

let authority: Authority;
let server: Certificate;
beforeAll(async () => {
  authority = await createAuthority("test authority");
  server = await authority.issue({
    commonName: "localhost",
    usage: "server",
    dnsNames: ["localhost"],
    ipAddresses: ["127.0.0.1", "::1"],
  });
});

/** What a server that requires certificates of the authority makes of this client: its names, or why it is refused. */
async function handshake(client?: Certificate): Promise<string | undefined> {
  const tls = createServer({
    cert: server.certificatePem,
    key: server.privateKeyPem,
    ca: authority.certificatePem,
    requestCert: true,
    rejectUnauthorized: true,
  });
  tls.listen(0, "127.0.0.1");
  await once(tls, "listening");
  const verdict = new Promise<string | undefined>((resolve, reject) => {
    tls.on("secureConnection", (socket) => resolve(socket.getPeerCertificate().subjectaltname));
    // By now the server has dropped the connection; the reason stays with the socket, typed as an Error but a string.
    tls.on("tlsClientError", (error, { authorizationError }: TLSSocket) =>
      reject(new Error(authorizationError ? String(authorizationError) : error.message)),
    );
  });
  const { port } = tls.address() as AddressInfo;
  const socket = connect({
    host: "127.0.0.1",
    port,
    ca: authority.certificatePem,
    ...(client && { cert: client.certificatePem, key: client.privateKeyPem }),
  });
  // Under TLS 1.3 the client is connected before the server has seen its certificate, and learns the verdict later.
  socket.on("error", () => {});
  try {
    const [names] = await Promise.all([verdict, once(socket, "secureConnect")]);
    return names;
  } finally {
    socket.destroy();
    tls.close();
  }
}

test("the server certificate is good for 127.0.0.1, ::1 and localhost, and for no other", async () => {
  expect(await handshake(await authority.issue(CLIENT))).toBe("URI:spiffe://example.org/gateway");
  const certificate = new X509Certificate(server.certificatePem);
  for (const ip of ["127.0.0.1", "::1"]) expect(certificate.checkIP(ip)).toBe(ip);
  expect(certificate.checkHost("localhost")).toBe("localhost");
  expect(certificate.checkIP("127.0.0.2")).toBeUndefined();
  expect(certificate.checkHost("example.org")).toBeUndefined();
});

const now = Date.now();
const REFUSED: readonly [title: string, code: string, make: () => Promise<Certificate | undefined>][] = [
  ["no certificate", "peer did not return a certificate", async () => undefined],
  ["an expired one", "CERT_HAS_EXPIRED", () => authority.issue({ ...CLIENT, notAfter: new Date(now - 1000) })],
  ["a future one", "CERT_NOT_YET_VALID", () => authority.issue({ ...CLIENT, notBefore: new Date(now + HOUR_MS) })],
  ["one for servers", "INVALID_PURPOSE", () => authority.issue({ ...CLIENT, usage: "server" })],
  ["a self-signed one", "DEPTH_ZERO_SELF_SIGNED_CERT", () => selfSigned(CLIENT)],
  ["one of another authority", "UNABLE_TO_VERIFY_LEAF_SIGNATURE", async () => issueByOther("other authority")],
  [
    "one of an authority of the same name",
    "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
    async () => issueByOther("test authority"),
  ],
  [
    "one self-signed in the authority's name",
    "DEPTH_ZERO_SELF_SIGNED_CERT",
    () => selfSigned({ ...CLIENT, commonName: "test authority" }),
  ],
];

async function issueByOther(name: string): Promise<Certificate> {
  return (await createAuthority(name)).issue(CLIENT);
}

test.each(REFUSED)("a client with %s is refused: %s", async (_title, code, make) => {
  await expect(handshake(await make())).rejects.toThrow(code);
});

// A value with a comma, quote, backslash, control or non-ASCII character is printed as a JSON string with its commas
// escaped: ", " separates names and nothing else, and no value passes for two. A DNS name may still begin with "URI:".
const PRINTED: readonly [names: Partial<CertificateOptions>, printed: string | undefined][] = [
  [{}, undefined],
  [{ uris: ["spiffe://example.org/a"] }, "URI:spiffe://example.org/a"],
  [
    { uris: ["spiffe://example.org/a", "spiffe://example.org/b"] },
    "URI:spiffe://example.org/a, URI:spiffe://example.org/b",
  ],
  [{ dnsNames: ["example.org"] }, "DNS:example.org"],
  [{ dnsNames: ["URI:spiffe://example.org/a"] }, "DNS:URI:spiffe://example.org/a"],
  [
    { dnsNames: ["a"], ipAddresses: ["10.0.0.1", "::1"], uris: ["a:b"] },
    "DNS:a, IP Address:10.0.0.1, IP Address:0:0:0:0:0:0:0:1, URI:a:b",
  ],
  [{ uris: ["a:b,c"] }, String.raw`URI:"a:b\u002cc"`],
  [{ uris: ["a:b, URI:a:c"] }, String.raw`URI:"a:b\u002c URI:a:c"`],
  [{ uris: ['a:"b"'] }, String.raw`URI:"a:\"b\""`],
  [{ uris: ["a:'b'"] }, `URI:"a:'b'"`],
  [{ uris: ["a:b\\c"] }, String.raw`URI:"a:b\\c"`],
  [{ uris: ["a:b\nURI:a:c"] }, String.raw`URI:"a:b\u000aURI:a:c"`],
  [{ uris: ["a:b\0c"] }, String.raw`URI:"a:b\u0000c"`],
  [{ uris: ["a:b\x7f"] }, String.raw`URI:"a:b\u007f"`],
  [{ uris: ["a:ü"] }, String.raw`URI:"a:\u00fc"`],
  [{ uris: ["a:b c=%2C;d"] }, "URI:a:b c=%2C;d"],
  [{ uris: [""] }, "URI:"],
];

test.each(PRINTED)("%j is accepted, and printed as %s", async (names, printed) => {
  const client = await authority.issue({ commonName: "gateway", usage: "client", ...names });
  expect(await handshake(client)).toBe(printed);
});
