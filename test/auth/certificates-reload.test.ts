// Certificates that are replaced while the server runs. The test moves the clock by which the files are read again; the
// last one, on the built server, waits for it.
import { rm, writeFile } from "node:fs/promises";
import type { ClientHttp2Session } from "node:http2";
import { join } from "node:path";
import { credentials, Server } from "@grpc/grpc-js";
import { afterEach, beforeAll, beforeEach, expect, jest, test } from "@jest/globals";
import { pino } from "pino";
import {
  HealthClient,
  HealthService,
  HealthCheckResponse_ServingStatus as Serving,
} from "../../gen/grpc/health/v1/health.js";
import { serverCredentials } from "../../src/grpc/certificates.js";
import { Health } from "../../src/grpc/health.js";
import { type Authority, type Certificate, createAuthority } from "../certificates.js";
import { eventually, temporaryFolder } from "../harness.js";
import {
  clientCertificate,
  openSession,
  rawCall,
  SERVICES,
  serverCertificate,
  startSecureService,
} from "../secure-service.js";

const REREAD_INTERVAL_MS = 5000;
const WARNING = "the TLS files cannot be used as they are now; the last good ones stay in use";
const REPLACED = "the TLS certificates were replaced";

/** Intervals are the test's to let pass, from here on; all else about time is real. */
function stopIntervals(): void {
  jest.useFakeTimers({
    doNotFake: [
      "Date",
      "hrtime",
      "nextTick",
      "performance",
      "queueMicrotask",
      "setImmediate",
      "clearImmediate",
      "setTimeout",
      "clearTimeout",
    ],
  });
}

function reread(): void {
  jest.advanceTimersByTime(REREAD_INTERVAL_MS);
}

let serverCa: Authority;
let oldCa: Authority;
let newCa: Authority;
let oldClient: Certificate;
let newClient: Certificate;
beforeAll(async () => {
  [serverCa, oldCa, newCa] = await Promise.all([
    createAuthority("server"),
    createAuthority("old"),
    createAuthority("new"),
  ]);
  oldClient = await clientCertificate(oldCa, {});
  newClient = await clientCertificate(newCa, {});
});

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let stops: (() => unknown)[];
beforeEach(async () => {
  folder = await temporaryFolder();
  stops = [];
});
afterEach(async () => {
  jest.useRealTimers();
  for (const stop of stops.reverse()) await stop();
  await folder.remove();
});

async function writeFiles(title: string) {
  const path = (name: string) => join(folder.path, `${title.replace(/\W/g, "-")}-${name}.pem`);
  const files = { certFile: path("cert"), keyFile: path("key"), clientCaFile: path("client-ca") };
  const good = await serverCertificate(serverCa);
  await writePair(files, good);
  await writeFile(files.clientCaFile, oldCa.certificatePem);
  return { files, good };
}

type Files = Awaited<ReturnType<typeof writeFiles>>["files"];

async function writePair(files: Files, { certificatePem, privateKeyPem }: Certificate): Promise<void> {
  await writeFile(files.certFile, certificatePem);
  await writeFile(files.keyFile, privateKeyPem);
}

/** A gRPC server of health alone that requires certificates of the old authority. */
async function startListener(title: string) {
  const { files, good } = await writeFiles(title);
  const messages: string[] = [];
  const log = pino(
    { base: null },
    { write: (line: string) => messages.push((JSON.parse(line) as { msg: string }).msg) },
  );
  const health = new Health([]);
  health.setServing(true);
  const server = new Server();
  server.addService(HealthService, health.handlers);
  const tls = serverCredentials(files, log);
  const port = await new Promise<number>((done, reject) => {
    server.bindAsync("127.0.0.1:0", tls, (error, bound) => (error ? reject(error) : done(bound)));
  });
  stops.push(() => server.forceShutdown());
  return { files, good, messages, port };
}

type Listener = Awaited<ReturnType<typeof startListener>>;

/** A new connection: the PEM of the server's certificate, whether it was resumed, and the ticket to resume it. */
async function open({ port }: Pick<Listener, "port">, client: Certificate, resumed?: Buffer) {
  const { session, socket, tickets } = openSession(`127.0.0.1:${port}`, serverCa, { client, resumed });
  stops.push(() => session.destroy());
  await check(session);
  const certificatePem = socket.getPeerX509Certificate()?.toString();
  return { session, certificatePem, isResumed: socket.isSessionReused(), ticket: tickets.at(-1) };
}

/** One call; rejects when the connection is not let in. */
async function check(session: ClientHttp2Session): Promise<void> {
  expect(await rawCall(session, "/grpc.health.v1.Health/Check", {})).toMatchObject({ "grpc-status": "0" });
}

async function expectServed(listener: Listener, { certificatePem }: Certificate, client = oldClient): Promise<void> {
  expect((await open(listener, client)).certificatePem?.trim()).toBe(certificatePem.trim());
}

const half = (pem: string) => pem.slice(0, pem.length / 2);

const BAD: readonly [title: string, spoil: (files: Files) => Promise<void>][] = [
  [
    "a certificate of another key",
    async ({ certFile }) => writeFile(certFile, (await serverCertificate(serverCa)).certificatePem),
  ],
  [
    "a key of another certificate",
    async ({ keyFile }) => writeFile(keyFile, (await serverCertificate(serverCa)).privateKeyPem),
  ],
  ["no certificate file", ({ certFile }) => rm(certFile)],
  ["no key file", ({ keyFile }) => rm(keyFile)],
  ["no client CA file", ({ clientCaFile }) => rm(clientCaFile)],
  ["an empty certificate file", ({ certFile }) => writeFile(certFile, "")],
  [
    "half a certificate",
    async ({ certFile }) => writeFile(certFile, half((await serverCertificate(serverCa)).certificatePem)),
  ],
  ["half a key", async ({ keyFile }) => writeFile(keyFile, half((await serverCertificate(serverCa)).privateKeyPem))],
  ["an empty client CA file", ({ clientCaFile }) => writeFile(clientCaFile, "")],
  ["half a client CA", ({ clientCaFile }) => writeFile(clientCaFile, half(oldCa.certificatePem))],
  ["a client CA file of other text", ({ clientCaFile }) => writeFile(clientCaFile, "certificate")],
  [
    "a client CA and half of another one",
    ({ clientCaFile }) => writeFile(clientCaFile, oldCa.certificatePem + half(newCa.certificatePem)),
  ],
];

test.each(BAD)("credentials with %s are refused at the start", async (title, spoil) => {
  const { files } = await writeFiles(title);
  await spoil(files);
  expect(() => serverCredentials(files, pino({ level: "silent" }))).toThrow();
});

test.each(BAD)(
  "%s leaves the last good ones in use, with one warning, until all are good again",
  async (title, spoil) => {
    stopIntervals();
    const listener = await startListener(title);
    await expectServed(listener, listener.good);
    await spoil(listener.files);
    reread();
    reread();
    expect(listener.messages).toEqual([WARNING]);
    await expectServed(listener, listener.good);
    await expect(open(listener, newClient)).rejects.toThrow();

    const next = await serverCertificate(serverCa);
    await writePair(listener.files, next);
    await writeFile(listener.files.clientCaFile, oldCa.certificatePem);
    reread();
    expect(listener.messages).toEqual([WARNING, REPLACED]);
    await expectServed(listener, next);
  },
);

test("a pair that is replaced file by file is used when both files are there, and not before", async () => {
  stopIntervals();
  const listener = await startListener("pair");
  const next = await serverCertificate(serverCa);
  await writeFile(listener.files.certFile, next.certificatePem);
  reread();
  await expectServed(listener, listener.good);
  await writeFile(listener.files.keyFile, next.privateKeyPem);
  jest.advanceTimersByTime(REREAD_INTERVAL_MS - 1);
  await expectServed(listener, listener.good);
  jest.advanceTimersByTime(1);
  await expectServed(listener, next);
  reread();
  expect(listener.messages).toEqual([WARNING, REPLACED]);
});

test("after the client CA is replaced clients of the old one are refused, resumed or not, and those of the new let in", async () => {
  stopIntervals();
  const listener = await startListener("client CA");
  const running = await open(listener, oldClient);
  expect(running.ticket).toBeDefined();
  expect((await open(listener, oldClient, running.ticket)).isResumed).toBe(true);
  await expect(open(listener, newClient)).rejects.toThrow();

  await writeFile(listener.files.clientCaFile, newCa.certificatePem);
  reread();
  await expectServed(listener, listener.good, newClient);
  await expect(open(listener, oldClient)).rejects.toThrow();
  await expect(open(listener, oldClient, running.ticket)).rejects.toThrow();
  // It is asked to reconnect within the hour that a connection may last.
  await check(running.session);
});

test("while both authorities are in the file the clients of both are let in", async () => {
  stopIntervals();
  const listener = await startListener("both");
  await writeFile(listener.files.clientCaFile, oldCa.certificatePem + newCa.certificatePem);
  reread();
  await expectServed(listener, listener.good, newClient);
  await expectServed(listener, listener.good, oldClient);
});

test("the built server gives new connections what was replaced, on both listeners, and running ones go on", async () => {
  const service = await startSecureService();
  stops.push(() => service.stop());
  const gateway = { uris: [SERVICES.gateway] };
  const old = await service.connectAs(gateway);
  await old.verification.verifyToken({ token: "x" });
  const alice = await service.signIn();
  await service.tokens.createToken({ name: "mine" }, alice);
  const tls = credentials.createSsl(Buffer.from(service.serverAuthority.certificatePem));
  const health = new HealthClient(service.bearerAddress, tls, { "grpc.ssl_target_name_override": "localhost" });
  stops.push(() => health.close());
  const seen: (Serving | "ended")[] = [];
  health
    .watch({ service: "" })
    .on("data", ({ status }: { status: Serving }) => seen.push(status))
    .on("error", () => seen.push("ended"));
  await eventually(() => expect(seen).toEqual([Serving.SERVING]));

  // A certificate of another authority: who trusts that one alone is let down until it is in use.
  const { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile, TLS_CLIENT_CA_FILE: clientCaFile } = service.files;
  await writePair({ certFile, keyFile, clientCaFile }, await serverCertificate(serverCa));
  await writeFile(clientCaFile, newCa.certificatePem);
  const openAt = (address: string, client: Certificate) => open({ port: Number(address.split(":")[1]) }, client);
  await eventually(() => openAt(service.bearerAddress, newClient), 8000);
  const nameless = await eventually(() => openAt(service.mtlsAddress, newClient), 8000);
  expect(await rawCall(nameless.session, LIST, ALICE)).toMatchObject({ "grpc-status": "16" });
  const known = await openAt(service.mtlsAddress, await clientCertificate(newCa, gateway));
  expect(await rawCall(known.session, LIST, ALICE)).toMatchObject({ "grpc-status": "0" });
  const left = await clientCertificate(service.clientAuthority, gateway);
  await expect(openAt(service.mtlsAddress, left)).rejects.toThrow();

  await old.verification.verifyToken({ token: "x" });
  expect((await service.tokens.getToken({ name: "mine" }, alice)).apiToken?.name).toBe("mine");
  expect(seen).toEqual([Serving.SERVING]);
});

const LIST = "/apitoken.v1.ApiTokenService/ListTokens";
const ALICE = { "x-organization-id": "acme", "x-user-id": "alice" };
