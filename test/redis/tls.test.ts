// rediss:// for real: the server trusts only the authority that it is told, shows Redis a certificate, and does so under
// Sentinels and in a Cluster, too.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { createAuthority } from "../certificates.js";
import { freePort } from "../faults/free-port.js";
import { type RedisNode, startNode } from "../faults/redis-node.js";
import { redisServer, temporaryFolder } from "../harness.js";
import { clients, type ServerProcess, startServerProcess } from "../server-process.js";

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let hasTls: boolean;
const nodes: RedisNode[] = [];
const running: ServerProcess[] = [];
const file = (name: string) => join(folder.path, name);

beforeAll(async () => {
  folder = await temporaryFolder();
  const authority = await createAuthority("Redis");
  const server = await authority.issue({ commonName: "redis", usage: "server", ipAddresses: ["127.0.0.1"] });
  const client = await authority.issue({ commonName: "apitokend", usage: "client" });
  writeFileSync(file("ca.pem"), authority.certificatePem);
  for (const [name, { certificatePem, privateKeyPem }] of Object.entries({ server, client })) {
    writeFileSync(file(`${name}.pem`), certificatePem);
    writeFileSync(file(`${name}-key.pem`), privateKeyPem);
  }
  const { command, env } = await redisServer();
  hasTls = /libssl/.test(execFileSync("ldd", [command], { env: { ...process.env, ...env } }).toString());
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.stop()));
  await Promise.all(nodes.splice(0).map((node) => node.kill()));
});
afterAll(() => folder.remove());

/** A node that speaks TLS on a second port, with clients that show a certificate. */
async function startTlsNode(settings: readonly string[], isSentinel = false) {
  const tlsPort = await freePort();
  const tls = [
    `tls-port ${tlsPort}`,
    `tls-ca-cert-file ${file("ca.pem")}`,
    `tls-cert-file ${file("server.pem")}`,
    `tls-key-file ${file("server-key.pem")}`,
    `tls-client-cert-file ${file("client.pem")}`,
    `tls-client-key-file ${file("client-key.pem")}`,
    "tls-replication yes",
  ];
  const name = isSentinel ? "sentinel" : `redis-${tlsPort}`;
  const node = await startNode({ name, parentFolder: folder.path, settings: [...tls, ...settings], isSentinel });
  nodes.push(node);
  return { node, tlsPort };
}

const DURABLE = ["appendonly yes", "appendfsync always", 'save ""'];

function start(redisUrl: string, env: Readonly<Record<string, string>> = {}) {
  const tls = {
    REDIS_TLS_CA_FILE: file("ca.pem"),
    REDIS_TLS_CERT_FILE: file("client.pem"),
    REDIS_TLS_KEY_FILE: file("client-key.pem"),
  };
  const server = startServerProcess({ REDIS_URL: redisUrl, DURABILITY: "fast", ...tls, ...env });
  running.push(server);
  return server;
}

async function serves(server: ServerProcess) {
  const { tokens, verification, close } = clients(await server.listening());
  const { token } = await tokens.createToken({ name: "my_token" });
  expect(await verification.verifyToken({ token })).toMatchObject({ active: true });
  close();
}

/** A Redis can be built without TLS. */
const testWithTls = (title: string, run: () => Promise<void>) =>
  test(title, async () => {
    if (hasTls) await run();
    else process.stderr.write(`NOT RUN, this Redis has no TLS: ${title}\n`);
  });

testWithTls("one server", async () => {
  const { tlsPort } = await startTlsNode(DURABLE);
  await serves(start(`rediss://127.0.0.1:${tlsPort}`));
});

testWithTls(
  "a server whose authority is not trusted, or that wants a certificate and gets none, is not used",
  async () => {
    const { tlsPort } = await startTlsNode(DURABLE);
    const untrusting = start(`rediss://127.0.0.1:${tlsPort}`, { REDIS_TLS_CA_FILE: "" });
    const nameless = start(`rediss://127.0.0.1:${tlsPort}`, { REDIS_TLS_CERT_FILE: "", REDIS_TLS_KEY_FILE: "" });
    expect(await Promise.all([untrusting.exited, nameless.exited])).toEqual([1, 1]);
    expect(untrusting.printed.stderr).toMatch(/Redis does not answer: (?:UNABLE_TO_VERIFY|SELF_SIGNED|UNABLE_TO_GET)/);
    expect(nameless.printed.stderr).toMatch(/Redis does not answer: \S+/);
  },
);

testWithTls("a master that a Sentinel names", async () => {
  const { tlsPort } = await startTlsNode(DURABLE);
  const monitor = `sentinel monitor mymaster 127.0.0.1 ${tlsPort} 1`;
  const sentinel = await startTlsNode([monitor], true);
  await serves(start(`rediss+sentinel://127.0.0.1:${sentinel.tlsPort}/mymaster`));
});

testWithTls("a Cluster", async () => {
  const { node, tlsPort } = await startTlsNode([
    ...DURABLE,
    "cluster-enabled yes",
    "tls-cluster yes",
    "cluster-announce-ip 127.0.0.1",
  ]);
  await node.command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383);
  await serves(start(`rediss+cluster://127.0.0.1:${tlsPort}`));
});
