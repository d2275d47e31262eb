// Bad credentials against a real server process with JWTs, TLS and mTLS; the runner says what each row proves.
import { writeFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { join } from "node:path";
import { connect, type TLSSocket } from "node:tls";
import { credentials, Metadata } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { ApiTokenServiceClient } from "../../gen/apitoken/v1/api_token_service.js";
import {
  type Authority,
  type Certificate,
  type CertificateOptions,
  createAuthority,
  selfSigned,
} from "../certificates.js";
import { startRedis, temporaryFolder } from "../harness.js";
import { createIssuer, type Issuer } from "../issuer.js";
import { type ServerProcess, startServerProcess } from "../server-process.js";
import { authorizationRows, bearerRows, serviceRows, UNAUTHENTICATED } from "./credential-rows.js";
import { exchange, type Target } from "./grpc.js";
import { CLOSED, type Row } from "./row.js";
import { expectNoTrace, run, type Subject } from "./runner.js";

const GATEWAY = "spiffe://example.org/gateway";

let redis: Awaited<ReturnType<typeof startRedis>>;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let issuer: Issuer;
let authority: Authority;
let server: ServerProcess;
let bearerPort: number;
let servicePort: number;
let gateway: Certificate;
beforeAll(async () => {
  [redis, folder, issuer, authority] = await Promise.all([
    startRedis(),
    temporaryFolder(),
    createIssuer(),
    createAuthority("test"),
  ]);
  const own = await authority.issue({
    commonName: "server",
    usage: "server",
    dnsNames: ["localhost"],
    ipAddresses: ["127.0.0.1"],
  });
  gateway = await authority.issue({ commonName: "gateway", usage: "client", uris: [GATEWAY] });
  const file = async (name: string, text: string) => {
    await writeFile(join(folder.path, name), text);
    return join(folder.path, name);
  };
  server = startServerProcess({
    REDIS_URL: `unix://${redis.socketPath}`,
    LOG_LEVEL: "trace",
    NODE_ENV: "production",
    MTLS_LISTEN_ADDRESS: "127.0.0.1:0",
    TLS_CERT_FILE: await file("server.pem", own.certificatePem),
    TLS_KEY_FILE: await file("server-key.pem", own.privateKeyPem),
    TLS_CLIENT_CA_FILE: await file("ca.pem", authority.certificatePem),
    JWT_ISSUER: issuer.issuer,
    JWT_AUDIENCE: issuer.audience,
    JWT_JWKS_FILE: await file("jwks.json", JSON.stringify(await issuer.jwks())),
    SERVICE_IDENTITIES: `${GATEWAY}=verify`,
  });
  await server.listening();
  [bearerPort = 0, servicePort = 0] = [...server.printed.stdout.matchAll(/127\.0\.0\.1:(\d+)/g)].map(([, port]) =>
    Number(port),
  );
});
afterAll(async () => {
  server.child.kill("SIGKILL");
  await server.exited;
  await Promise.all([redis.stop(), folder.remove()]);
});

const sockets = new Set<Socket>();
const presented: string[] = [];

/** Connections over TLS, with a client certificate or none. Rejects when the handshake is refused. */
function targetOf(port: () => number, certificate: () => Certificate | undefined): Target {
  const dial = () =>
    new Promise<TLSSocket>((resolve, reject) => {
      const { certificatePem: cert, privateKeyPem: key } = certificate() ?? {};
      const options = { port: port(), host: "127.0.0.1", ca: authority.certificatePem, ALPNProtocols: ["h2"] };
      const socket = connect({ ...options, ...(cert && { cert }), ...(key && { key }) }, () => resolve(socket));
      socket.on("error", reject);
      sockets.add(socket);
    });
  return { connect: dial, metadata: [] };
}

async function serves(): Promise<void> {
  const ca = Buffer.from(authority.certificatePem);
  const client = new ApiTokenServiceClient(`127.0.0.1:${bearerPort}`, credentials.createSsl(ca));
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${await issuer.sign()}`);
  const name = crypto.randomUUID();
  await new Promise<void>((resolve, reject) => {
    client.createToken({ name, role: "", ttl: undefined, requestId: "" }, metadata, (error) =>
      error ? reject(error) : resolve(),
    );
  });
  client.close();
}

const subject = (target: Target): Subject => ({ server, target, sockets, presented, serves });
const known = () => ({
  issuer,
  present: (credential: string) => {
    presented.push(credential);
    return credential;
  },
});
const bearers = targetOf(
  () => bearerPort,
  () => undefined,
);
const services = targetOf(
  () => servicePort,
  () => gateway,
);

const named = (rows: readonly Row[]) => rows.map((row) => [row.name, row] as const);

test.each(named(bearerRows(known)))("the bearer's %s", (_name, row) => run(row, subject(bearers)));
test.each(named(authorizationRows(known)))("%s", (_name, row) => run(row, subject(bearers)));
test.each(named(serviceRows()))("a service's %s", (_name, row) => run(row, subject(services)));

const HOUR_MS = 3_600_000;
const fromNow = (hours: number) => new Date(Date.now() + hours * HOUR_MS);
const client = (options: Partial<CertificateOptions>) =>
  authority.issue({ commonName: "client", usage: "client", uris: [GATEWAY], ...options });

/** Refused in the handshake, or by us. With TLS 1.3 a client may learn of the former only after its first bytes. */
const CERTIFICATES: readonly (readonly [
  name: string,
  make: () => Promise<Certificate | undefined>,
  expected: Row["expected"],
])[] = [
  ["a good one, to see that the rows below could pass", () => client({}), { code: "PERMISSION_DENIED" }],
  ["none", async () => undefined, CLOSED],
  ["a self-signed one", () => selfSigned({ commonName: "gateway", usage: "client", uris: [GATEWAY] }), CLOSED],
  [
    "one of another authority",
    async () => (await createAuthority("other")).issue({ commonName: "g", usage: "client", uris: [GATEWAY] }),
    CLOSED,
  ],
  [
    "one of another authority of the same name",
    async () => (await createAuthority("test")).issue({ commonName: "g", usage: "client", uris: [GATEWAY] }),
    CLOSED,
  ],
  ["an expired one", () => client({ notBefore: fromNow(-2), notAfter: fromNow(-1) }), CLOSED],
  ["one that is not valid yet", () => client({ notBefore: fromNow(1) }), CLOSED],
  ["a server's", () => client({ usage: "server" }), CLOSED],
  ["one without names", () => client({ uris: [] }), UNAUTHENTICATED],
  ["one with two URIs", () => client({ uris: [GATEWAY, "spiffe://example.org/other"] }), UNAUTHENTICATED],
  ["one with the URI twice", () => client({ uris: [GATEWAY, GATEWAY] }), UNAUTHENTICATED],
  ["one with the URI as a DNS name", () => client({ uris: [], dnsNames: [`URI:${GATEWAY}`] }), UNAUTHENTICATED],
  ["one with the URI as its common name", () => client({ uris: [], commonName: GATEWAY }), UNAUTHENTICATED],
  ["one with another URI", () => client({ uris: ["spiffe://example.org/unknown"] }), UNAUTHENTICATED],
  ["one with a longer URI", () => client({ uris: [`${GATEWAY}/x`] }), UNAUTHENTICATED],
  ["one with a shorter URI", () => client({ uris: [GATEWAY.slice(0, -1)] }), UNAUTHENTICATED],
  ["one with the URI in another case", () => client({ uris: [GATEWAY.toUpperCase()] }), UNAUTHENTICATED],
  ["one with a comma in its URI", () => client({ uris: [`a:b, URI:${GATEWAY}`] }), UNAUTHENTICATED],
  ["one with a quote in its URI", () => client({ uris: [`${GATEWAY}"`] }), UNAUTHENTICATED],
  ["one with a NUL in its URI", () => client({ uris: [`${GATEWAY}\0.example.org`] }), UNAUTHENTICATED],
  ["one with a line break in its URI", () => client({ uris: [`${GATEWAY}\nx`] }), UNAUTHENTICATED],
  ["one with an empty URI", () => client({ uris: [""] }), UNAUTHENTICATED],
];

describe("the client certificate:", () => {
  test.each(CERTIFICATES)("%s", async (name, make, expected) => {
    const certificate = await make();
    const target = targetOf(
      () => servicePort,
      () => certificate,
    );
    const act = () =>
      exchange(target).catch((error: NodeJS.ErrnoException) => ({
        closed: "connection" as const,
        error: error.code ?? "",
      }));
    await run({ name, act, expected }, subject(target));
  });
});

test("a client certificate on the bearer listener counts for nothing", async () => {
  const target = targetOf(
    () => bearerPort,
    () => gateway,
  );
  await run({ name: "", act: exchange, expected: UNAUTHENTICATED }, subject(target));
});

test("plaintext on the TLS ports gets nothing, and the server goes on", async () => {
  const { clients } = await import("../server-process.js");
  for (const port of [bearerPort, servicePort]) {
    const { tokens, close } = clients(`127.0.0.1:${port}`);
    await expect(tokens.listTokens({})).rejects.toMatchObject({ code: "UNAVAILABLE" });
    close();
  }
  await serves();
});

test("nothing that any row sent is in what the server printed", () => {
  expect(server.printed.stderr).toContain("UNAUTHENTICATED");
  expectNoTrace(server.printed.stdout + server.printed.stderr);
});
