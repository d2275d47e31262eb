// Services with client certificates, over real TLS: who passes the handshake, who is known, and what each may do.
import { connect as connectHttp2 } from "node:http2";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { TokenEventKind } from "../../gen/apitoken/v1/api_token.js";
import { InactiveReason } from "../../gen/apitoken/v1/token_verification_service.js";
import { type Certificate, type CertificateOptions, createAuthority, selfSigned } from "../certificates.js";
import { type As, eventually } from "../harness.js";
import {
  bearer,
  clientCertificate,
  NOT_FOUND,
  openSession,
  PERMISSION_DENIED,
  rawCall,
  SERVICES,
  type SecureService,
  startSecureService,
  UNAUTHENTICATED,
} from "../secure-service.js";

const HOUR_MS = 3_600_000;
const VERIFY = "/apitoken.v1.TokenVerificationService/VerifyToken";
const GATEWAY = { uris: [SERVICES.gateway] };
const ALICE: As = { organization: "acme", user: "alice" };

type Clients = Awaited<ReturnType<SecureService["connectAs"]>>;

let service: SecureService;
let verifier: Clients;
let console_: Clients;
let gateway: Clients;
beforeAll(async () => {
  service = await startSecureService();
  [verifier, console_, gateway] = await Promise.all([
    service.connectAs({ uris: [SERVICES.verifier] }),
    service.connectAs({ uris: [SERVICES.console] }),
    service.connectAs(GATEWAY),
  ]);
});
afterAll(() => service.stop());

const now = Date.now();
const REFUSED: readonly [title: string, make: () => Promise<Certificate | undefined>][] = [
  ["none", async () => undefined],
  ["a self-signed one", () => selfSigned({ commonName: "client", usage: "client", ...GATEWAY })],
  ["an expired one", () => clientCertificate(service.clientAuthority, { ...GATEWAY, notAfter: new Date(now - 1000) })],
  [
    "one that is not valid yet",
    () => clientCertificate(service.clientAuthority, { ...GATEWAY, notBefore: new Date(now + HOUR_MS) }),
  ],
  ["one of another authority", async () => clientCertificate(await createAuthority("other authority"), GATEWAY)],
  [
    "one of another authority of the same name",
    async () => clientCertificate(await createAuthority("client authority"), GATEWAY),
  ],
  ["one of the server's authority", () => clientCertificate(service.serverAuthority, GATEWAY)],
  ["one for servers", () => clientCertificate(service.clientAuthority, { ...GATEWAY, usage: "server" })],
];

test.each(REFUSED)(
  "a client whose certificate is %s is refused in the handshake, and no call of it is seen",
  async (_title, make) => {
    const certificate = await make();
    const before = service.log().length;
    const { session } = openSession(service.mtlsAddress, service.serverAuthority, { client: certificate });
    await expect(rawCall(session, VERIFY, {})).rejects.toThrow();
    session.destroy();
    const { verification } = service.connect(service.mtlsAddress, certificate);
    await expect(verification.verifyToken({ token: "x" })).rejects.toMatchObject({
      code: "UNAVAILABLE",
      reason: undefined,
      message: expect.stringMatching(/^(?:No connection established|Connection dropped|read ECONNRESET)/),
    });
    await gateway.verification.verifyToken({ token: "x" });
    await eventually(() =>
      expect(
        service
          .log()
          .slice(before)
          .map(({ caller }) => caller),
      ).toEqual([`service:${SERVICES.gateway}`]),
    );
  },
);

test("the mTLS listener speaks no plaintext and no TLS before 1.2", async () => {
  const plain = connectHttp2(`http://${service.mtlsAddress}`);
  plain.on("error", () => {});
  await expect(rawCall(plain, VERIFY, {})).rejects.toThrow();
  const certificate = await clientCertificate(service.clientAuthority, GATEWAY);
  const [host = "", port = ""] = service.mtlsAddress.split(":");
  const handshake = (maxVersion: "TLSv1.1" | "TLSv1.2") =>
    new Promise<string | null>((resolve, reject) => {
      const socket: TLSSocket = connectTls({
        host,
        port: Number(port),
        ca: service.serverAuthority.certificatePem,
        cert: certificate.certificatePem,
        key: certificate.privateKeyPem,
        minVersion: "TLSv1",
        maxVersion,
        ALPNProtocols: ["h2"],
        ciphers: "DEFAULT@SECLEVEL=0",
      });
      socket.on("error", reject);
      socket.on("secureConnect", () => {
        resolve(socket.getProtocol());
        socket.destroy();
      });
    });
  expect(await handshake("TLSv1.2")).toBe("TLSv1.2");
  await expect(handshake("TLSv1.1")).rejects.toThrow("alert protocol version");
});

const UNKNOWN: readonly [title: string, names: Partial<CertificateOptions>][] = [
  ["no name", {}],
  ["no name but the common name", { commonName: SERVICES.gateway }],
  ["two URIs", { uris: [SERVICES.gateway, SERVICES.verifier] }],
  ["the same URI twice", { uris: [SERVICES.gateway, SERVICES.gateway] }],
  ["only a DNS name", { dnsNames: ["gateway.example.org"] }],
  ["a DNS name that looks like the URI", { dnsNames: [`URI:${SERVICES.gateway}`] }],
  ["a URI that holds another one", { uris: [`a:b, URI:${SERVICES.gateway}`] }],
  ["a URI that has to be quoted", { uris: [`${SERVICES.gateway},x`] }],
  ["a URI with a zero byte", { uris: [`${SERVICES.gateway}\0.example`] }],
  ["a quoted URI beside the URI", { uris: ["a:b,c", SERVICES.gateway] }],
  ["a name that has to be quoted beside the URI", { dnsNames: ["a,b"], ...GATEWAY }],
  ["a quote behind the URI", { uris: [`${SERVICES.gateway}"`] }],
  ["a line break behind the URI", { uris: [`${SERVICES.gateway}\nx`] }],
  ["the URI in quotes", { uris: [`"${SERVICES.gateway}"`] }],
  ["an unknown URI", { uris: ["spiffe://example.org/unknown"] }],
  ["a URI that begins with it", { uris: [`${SERVICES.gateway}/`] }],
  ["a URI that it begins with", { uris: [SERVICES.gateway.slice(0, -1)] }],
  ["a URI of another case", { uris: [SERVICES.gateway.toUpperCase()] }],
  ["a scheme of another case", { uris: [SERVICES.gateway.replace("spiffe", "SPIFFE")] }],
  ["a space before it", { uris: [` ${SERVICES.gateway}`] }],
  ["an encoded character", { uris: [SERVICES.gateway.replace("gateway", "%67ateway")] }],
  ["an empty URI", { uris: [""] }],
  ["a URI that objects have", { uris: ["constructor"] }],
];

test.each(UNKNOWN)("a service whose certificate has %s is UNAUTHENTICATED, whatever it asks", async (_title, names) => {
  const { tokens, verification } = await service.connectAs(names);
  await expect(verification.verifyToken({ token: "x" })).rejects.toMatchObject(UNAUTHENTICATED);
  await expect(tokens.listTokens({}, ALICE)).rejects.toMatchObject(UNAUTHENTICATED);
});

test("names of other kinds beside the one URI change nothing", async () => {
  const names = { ...GATEWAY, dnsNames: ["gateway.example.org"], ipAddresses: ["10.0.0.1"] };
  const { verification } = await service.connectAs(names);
  expect(await verification.verifyToken({ token: "x" })).toMatchObject({ active: false });
});

test("a service with the grant verify verifies, and nothing else, for itself and for users", async () => {
  const { token } = await console_.tokens.createToken({ name: "verified" }, ALICE);
  expect(await verifier.verification.verifyToken({ token })).toMatchObject({ active: true });
  await expectNothing(verifier);
  for (const call of everyCall(verifier, ALICE)) await expect(call()).rejects.toMatchObject(PERMISSION_DENIED);
  await expect(verifier.verification.verifyToken({ token }, ALICE)).rejects.toMatchObject(PERMISSION_DENIED);
});

/** To be made one after the other: a caller runs two lists at a time. */
function everyCall({ tokens }: Clients, as: As = {}): (() => Promise<unknown>)[] {
  return [
    () => tokens.createToken({ name: "new" }, as),
    () => tokens.getToken({ name: "verified" }, as),
    () => tokens.getToken({ name: "verified", userId: "alice" }, as),
    () => tokens.listTokens({}, as),
    () => tokens.listTokens({ userId: "-" }, as),
    () => tokens.renewToken({ name: "verified" }, as),
    () => tokens.revokeToken({ name: "verified" }, as),
    () => tokens.listTokenEvents({}, as),
  ];
}

/** A service that names no user has no tokens. */
async function expectNothing(clients: Clients): Promise<void> {
  for (const call of everyCall(clients)) await expect(call()).rejects.toMatchObject(PERMISSION_DENIED);
}

test("a service with the grant act-for-users is its user there, may give any role, and does not verify", async () => {
  const { apiToken, token } = await console_.tokens.createToken({ name: "for alice", role: "any role" }, ALICE);
  expect(apiToken).toMatchObject({ organizationId: "acme", userId: "alice", role: "any role" });
  await console_.tokens.renewToken({ name: "for alice" }, ALICE);
  const others: readonly As[] = [
    { organization: "acme", user: "bob" },
    { organization: "initech", user: "alice" },
  ];
  for (const other of others) {
    await expect(console_.tokens.getToken({ name: "for alice" }, other)).rejects.toMatchObject(NOT_FOUND);
    await expect(console_.tokens.getToken({ name: "for alice", userId: "alice" }, other)).rejects.toMatchObject(
      NOT_FOUND,
    );
  }
  await expect(console_.tokens.listTokens({ userId: "-" }, ALICE)).rejects.toMatchObject(PERMISSION_DENIED);
  for (const as of [{}, ALICE]) {
    await expect(console_.verification.verifyToken({ token }, as)).rejects.toMatchObject(PERMISSION_DENIED);
  }
  await expectNothing(console_);
  await console_.tokens.revokeToken({ name: "for alice" }, ALICE);
});

test("events tell the service by its URI, and the user that it acted for", async () => {
  const { apiToken } = await gateway.tokens.createToken({ name: "told" }, ALICE);
  await gateway.tokens.renewToken({ name: "told" }, ALICE);
  const { events } = await gateway.tokens.listTokenEvents({ uid: apiToken?.uid ?? "" }, ALICE);
  expect(events.map(({ kind, actor, userId, organizationId }) => [kind, actor, userId, organizationId])).toEqual([
    [TokenEventKind.TOKEN_EVENT_KIND_RENEWED, `service:${SERVICES.gateway}`, "alice", "acme"],
    [TokenEventKind.TOKEN_EVENT_KIND_CREATED, `service:${SERVICES.gateway}`, "alice", "acme"],
  ]);
});

test("a superseded token that a service verifies leaves an event of that service", async () => {
  const { apiToken, token } = await gateway.tokens.createToken({ name: "superseded" }, ALICE);
  await gateway.tokens.renewToken({ name: "superseded" }, ALICE);
  expect(await verifier.verification.verifyToken({ token })).toMatchObject({
    active: false,
    reason: InactiveReason.INACTIVE_REASON_SUPERSEDED,
  });
  const [event] = await eventually(async () => {
    const { events } = await gateway.tokens.listTokenEvents({ uid: apiToken?.uid ?? "" }, ALICE);
    expect(events).toHaveLength(3);
    return events;
  });
  expect(event).toMatchObject({
    kind: TokenEventKind.TOKEN_EVENT_KIND_SUPERSEDED_USE,
    actor: `service:${SERVICES.verifier}`,
    userId: "alice",
  });
});

test("a certificate presented to the listener for bearers counts for nothing", async () => {
  const certificate = await clientCertificate(service.clientAuthority, GATEWAY);
  const { tokens, verification } = service.connect(service.bearerAddress, certificate);
  await expect(verification.verifyToken({ token: "x" })).rejects.toMatchObject(UNAUTHENTICATED);
  await expect(tokens.listTokens({}, ALICE)).rejects.toMatchObject(UNAUTHENTICATED);
  await tokens.listTokens({}, bearer(await service.issuer.sign()));
});
