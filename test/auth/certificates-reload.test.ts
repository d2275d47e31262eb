// Certificates that are replaced while the server runs. The files are read again every 5 s; the cases run side by side,
// each on a listener of its own, so that all of them together wait for that once or twice.
import { rm, writeFile } from "node:fs/promises";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { credentials, Server } from "@grpc/grpc-js";
import { afterEach, beforeAll, beforeEach, expect, test } from "@jest/globals";
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
import { clientCertificate, rawCall, serverCertificate } from "../secure-service.js";

const REREAD_LIMIT_MS = 8000;
const TEST_LIMIT_MS = 30_000;
const WARNING = "the TLS files cannot be used as they are now; the last good ones stay in use";
const REPLACED = "the TLS certificates were replaced";

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
let stops: (() => void)[];
beforeEach(async () => {
  folder = await temporaryFolder();
  stops = [];
});
afterEach(async () => {
  for (const stop of stops.reverse()) stop();
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
async function open({ port }: Listener, client: Certificate, resumed?: Buffer) {
  const tickets: Buffer[] = [];
  const socket = connectTls({
    host: "127.0.0.1",
    port,
    ca: serverCa.certificatePem,
    cert: client.certificatePem,
    key: client.privateKeyPem,
    ALPNProtocols: ["h2"],
    ...(resumed && { session: resumed }),
  });
  socket.on("error", () => {});
  socket.on("session", (ticket: Buffer) => tickets.push(ticket));
  const session: ClientHttp2Session = connectHttp2(`https://127.0.0.1:${port}`, { createConnection: () => socket });
  session.on("error", () => {});
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
];

test.each(BAD)("credentials with %s are refused at the start", async (title, spoil) => {
  const { files } = await writeFiles(title);
  await spoil(files);
  expect(() => serverCredentials(files, pino({ level: "silent" }))).toThrow();
});

const BAD_AUTHORITIES: readonly [title: string, make: () => string][] = [
  ["an empty client CA file", () => ""],
  ["half a client CA", () => half(oldCa.certificatePem)],
  ["a client CA file of other text", () => "certificate"],
  ["a client CA and half of another one", () => oldCa.certificatePem + half(newCa.certificatePem)],
];

// DEFECT: OpenSSL's loader stops at what it cannot read in a file of authorities and says nothing: a half-written file
// takes the place of the last good one, and no service is let in. src/grpc/certificates.ts has to parse it. Once it
// does, these tests fail: make them plain ones.
test.failing.each(BAD_AUTHORITIES)("credentials with %s are refused at the start", async (title, make) => {
  const { files } = await writeFiles(title);
  await writeFile(files.clientCaFile, make());
  expect(() => serverCredentials(files, pino({ level: "silent" }))).toThrow();
});

test(
  "a client CA file without any certificate lets nobody in, least of all those of a public authority",
  async () => {
    const { files } = await writeFiles("no CA");
    await writeFile(files.clientCaFile, "");
    const server = new Server();
    stops.push(() => server.forceShutdown());
    const started = await startListener("with CA");
    await writeFile(started.files.clientCaFile, "");
    await eventually(async () => {
      expect(started.messages).not.toEqual([]);
    }, REREAD_LIMIT_MS);
    if (started.messages.includes(WARNING)) await expectServed(started, started.good);
    else await expect(open(started, oldClient)).rejects.toThrow();
    await expect(open(started, newClient)).rejects.toThrow();
  },
  TEST_LIMIT_MS,
);

test(
  "files that do not fit leave the last good ones in use, with one warning, until they are good again",
  async () => {
    await Promise.all(
      BAD.map(async ([title, spoil]) => {
        const listener = await startListener(title);
        await expectServed(listener, listener.good);
        await spoil(listener.files);
        await eventually(() => expect([title, ...listener.messages]).toEqual([title, WARNING]), REREAD_LIMIT_MS);
        await expectServed(listener, listener.good);
        await expect(open(listener, newClient)).rejects.toThrow();

        const next = await serverCertificate(serverCa);
        await writePair(listener.files, next);
        await writeFile(listener.files.clientCaFile, oldCa.certificatePem);
        await eventually(() => expectServed(listener, next), REREAD_LIMIT_MS);
        expect(listener.messages).toEqual([WARNING, REPLACED]);
      }),
    );
  },
  TEST_LIMIT_MS,
);

test(
  "a replaced pair is what new connections get, while running connections, streams and calls go on",
  async () => {
    const listener = await startListener("pair");
    const running = await open(listener, oldClient);
    const client = new HealthClient(
      `127.0.0.1:${listener.port}`,
      credentials.createSsl(
        Buffer.from(serverCa.certificatePem),
        Buffer.from(oldClient.privateKeyPem),
        Buffer.from(oldClient.certificatePem),
      ),
    );
    const seen: (Serving | "ended")[] = [];
    const stream = client.watch({ service: "" });
    stream.on("data", ({ status }: { status: Serving }) => seen.push(status));
    stream.on("error", () => seen.push("ended"));
    await eventually(() => expect(seen).toEqual([Serving.SERVING]));

    const next = await serverCertificate(serverCa);
    await writePair(listener.files, next);
    await eventually(() => expectServed(listener, next), REREAD_LIMIT_MS);
    await check(running.session);
    expect(seen).toEqual([Serving.SERVING]);
    expect(listener.messages).toEqual([REPLACED]);
    client.close();
  },
  TEST_LIMIT_MS,
);

test(
  "after the client CA is replaced clients of the old one are refused, resumed or not, and those of the new one let in",
  async () => {
    const listener = await startListener("client CA");
    const running = await open(listener, oldClient);
    expect(running.ticket).toBeDefined();
    const resumed = await open(listener, oldClient, running.ticket);
    expect(resumed.isResumed).toBe(true);
    await expect(open(listener, newClient)).rejects.toThrow();

    await writeFile(listener.files.clientCaFile, newCa.certificatePem);
    await eventually(() => expectServed(listener, listener.good, newClient), REREAD_LIMIT_MS);
    await expect(open(listener, oldClient)).rejects.toThrow();
    await expect(open(listener, oldClient, running.ticket)).rejects.toThrow();
    // It is asked to reconnect within the hour that a connection may last.
    await check(running.session);
    expect(listener.messages).toEqual([REPLACED]);
  },
  TEST_LIMIT_MS,
);

test(
  "while both authorities are in the file the clients of both are let in",
  async () => {
    const listener = await startListener("both");
    await writeFile(listener.files.clientCaFile, oldCa.certificatePem + newCa.certificatePem);
    await eventually(() => expectServed(listener, listener.good, newClient), REREAD_LIMIT_MS);
    await expectServed(listener, listener.good, oldClient);
  },
  TEST_LIMIT_MS,
);
