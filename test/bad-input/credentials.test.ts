// Bad credentials against a real server process with JWTs, TLS and mTLS; the runner says what each row proves.
import { once } from "node:events";
import type { Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { Certificate } from "../certificates.js";
import { clientCertificate, openSocket, SERVICES, type SecureService, startSecureService } from "../secure-service.js";
import { clients } from "../server-process.js";
import { authorizationRows, bearerRows, hostileRows, serviceRows, verifierRows } from "./credential-rows.js";
import type { Target } from "./grpc.js";
import type { Row } from "./row.js";
import { expectNoTrace, run } from "./runner.js";

let service: SecureService;
let gateway: Certificate;
let verifier: Certificate;
beforeAll(async () => {
  service = await startSecureService({ LOG_LEVEL: "trace", NODE_ENV: "production" });
  gateway = await clientCertificate(service.clientAuthority, { uris: [SERVICES.gateway] });
  verifier = await clientCertificate(service.clientAuthority, { uris: [SERVICES.verifier] });
});
afterAll(() => service.stop());

const sockets = new Set<Socket>();
const presented: string[] = [];
const known = () => ({
  issuer: service.issuer,
  present: (credential: string) => {
    presented.push(credential);
    return credential;
  },
});

async function serves(): Promise<void> {
  const { tokens, close } = clients(service.bearerAddress, service.channelCredentials());
  const name = crypto.randomUUID();
  try {
    const alice = await service.signIn();
    await tokens.createToken({ name }, alice);
    await tokens.revokeToken({ name }, alice);
  } finally {
    close();
  }
}

/** Sends rows over TLS, with a client certificate or none. */
function runAt(address: () => string, client: () => Certificate | undefined = () => undefined) {
  const connect = async () => {
    const socket = openSocket(address(), service.serverAuthority, { client: client() });
    sockets.add(socket);
    await once(socket, "secureConnect");
    return socket;
  };
  const target: Target = { connect, metadata: [] };
  return (_name: string, row: Row) => run(row, { server: service.server, target, sockets, presented, serves });
}
const byBearer = runAt(() => service.bearerAddress);
const byService = (certificate: () => Certificate) => runAt(() => service.mtlsAddress, certificate);

const named = (rows: readonly Row[]) => rows.map((row) => [row.name, row] as const);

test.each(named(hostileRows(known)))("a JWT with %s is UNAUTHENTICATED, byte for byte as no credential", byBearer);
test.each(named(bearerRows(known)))("the bearer's credential, %s", byBearer);
test.each(named(authorizationRows(known)))("%s", byBearer);
test.each(named(verifierRows()))(
  "%s",
  byService(() => verifier),
);
test.each(named(serviceRows(known)))(
  "a service's %s",
  byService(() => gateway),
);

test("plaintext on the TLS ports gets nothing, and the server goes on", async () => {
  for (const address of [service.bearerAddress, service.mtlsAddress]) {
    const { tokens, close } = clients(address);
    await expect(tokens.listTokens({})).rejects.toMatchObject({ code: "UNAVAILABLE" });
    close();
  }
  await serves();
});

test("nothing that any row sent is in what the server printed", () => {
  const { stdout, stderr } = service.server.printed;
  expect(stderr).toContain("UNAUTHENTICATED");
  expectNoTrace(stdout + stderr);
});
