// `npm run local-issuer` as a newcomer runs it: what it leaves in its folder, and that it fits together.
import { execFile } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join, resolve } from "node:path";
import { connect, createServer } from "node:tls";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from "jose";
import { temporaryFolder } from "./harness.js";

const ROOT = resolve(import.meta.dirname, "../..");
const TOKENS = ["admin.jwt", "alice.jwt"];
const PEMS = ["ca.pem", "gateway-key.pem", "gateway.pem", "server-key.pem", "server.pem"];
const NAMES = [...TOKENS, ...PEMS, "env", "jwks.json"].sort();

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let dir: string;
beforeEach(async () => {
  folder = await temporaryFolder();
  dir = join(folder.path, "it's data", "local issuer");
});
afterEach(() => folder.remove());

const run = promisify(execFile);

async function runLocalIssuer(): Promise<string> {
  return (await run(process.execPath, ["dist/test/local-issuer.js", "--dir", dir], { cwd: ROOT })).stdout;
}

const read = (name: string) => readFile(join(dir, name), "utf8");
const modeOf = async (path: string) => ((await stat(path)).mode & 0o777).toString(8);

test("the folder, its new parents and its files are the user's alone, and what it prints warns", async () => {
  expect(await runLocalIssuer()).toContain("FOR TRYING ONLY");
  expect((await readdir(dir)).sort()).toEqual(NAMES);
  expect(await modeOf(dir)).toBe("700");
  expect(await modeOf(join(dir, ".."))).toBe("700");
  for (const name of NAMES) expect([name, await modeOf(join(dir, name))]).toEqual([name, "600"]);
});

test("the tokens are good for 12 hours by the keys in jwks.json", async () => {
  await runLocalIssuer();
  const jwks = JSON.parse(await read("jwks.json")) as JSONWebKeySet;
  const options = { issuer: "https://issuer.example", audience: "api-token-service", typ: "at+jwt" };
  for (const [sub, role] of [
    ["alice", "developer"],
    ["admin", "organization-administrator"],
  ]) {
    const token = (await read(`${sub}.jwt`)).trim();
    const { payload } = await jwtVerify(token, createLocalJWKSet(jwks), options);
    expect(payload).toMatchObject({ sub, organization_id: "acme", roles: [role] });
    expect(Number(payload.exp) - Number(payload.iat)).toBe(12 * 3600);
  }
});

test("the certificates are good for mutual TLS, and the gateway is who SERVICE_IDENTITIES says", async () => {
  await runLocalIssuer();
  const [ca, serverCert, serverKey, clientCert, clientKey] = await Promise.all(
    ["ca.pem", "server.pem", "server-key.pem", "gateway.pem", "gateway-key.pem"].map(read),
  );
  const tls = createServer({ ca, cert: serverCert, key: serverKey, requestCert: true, rejectUnauthorized: true });
  tls.listen(0, "127.0.0.1");
  await once(tls, "listening");
  const connected = once(tls, "secureConnection");
  const { port } = tls.address() as AddressInfo;
  const client = connect({ host: "127.0.0.1", port, ca, cert: clientCert, key: clientKey });
  await once(client, "secureConnect");
  const [socket] = await connected;
  expect(socket.getPeerCertificate().subjectaltname).toBe("URI:spiffe://example.org/gateway");
  client.destroy();
  tls.close();
});

test("env sets in a shell what the server reads, wherever the folder is", async () => {
  await runLocalIssuer();
  const { stdout } = await run("sh", ["-ec", '. "$0" && env', join(dir, "env")], { env: {} });
  expect(
    stdout
      .split("\n")
      .filter((line) => !/^(?:PWD|OLDPWD|SHLVL|_)=|^$/.test(line))
      .sort(),
  ).toEqual([
    "JWT_AUDIENCE=api-token-service",
    "JWT_ISSUER=https://issuer.example",
    `JWT_JWKS_FILE=${join(dir, "jwks.json")}`,
    "LISTEN_ADDRESS=127.0.0.1:50051",
    "MTLS_LISTEN_ADDRESS=127.0.0.1:50052",
    "NODE_ENV=production",
    "SERVICE_IDENTITIES=spiffe://example.org/gateway=verify",
    `TLS_CERT_FILE=${join(dir, "server.pem")}`,
    `TLS_CLIENT_CA_FILE=${join(dir, "ca.pem")}`,
    `TLS_KEY_FILE=${join(dir, "server-key.pem")}`,
  ]);
});

test("running it again makes everything anew, with the right modes, and follows no link", async () => {
  await runLocalIssuer();
  const before = await Promise.all(NAMES.map(read));
  await chmod(dir, 0o755);
  await chmod(join(dir, "server-key.pem"), 0o644);
  const victim = join(folder.path, "victim");
  await writeFile(victim, "untouched");
  await rm(join(dir, "alice.jwt"));
  await symlink(victim, join(dir, "alice.jwt"));
  await runLocalIssuer();
  const after = await Promise.all(NAMES.map(read));
  for (const [i, name] of NAMES.entries()) {
    if (name !== "env") expect(after[i]).not.toBe(before[i]);
    expect(await modeOf(join(dir, name))).toBe("600");
  }
  expect(await modeOf(dir)).toBe("700");
  expect(await readFile(victim, "utf8")).toBe("untouched");
});

test("a folder that holds anything else is left as it is", async () => {
  await mkdir(dir, { recursive: true, mode: 0o755 });
  await writeFile(join(dir, "notes"), "mine");
  await expect(runLocalIssuer()).rejects.toMatchObject({
    code: 2,
    stderr: `local-issuer: ${dir} holds other files (notes): choose an empty --dir\n`,
  });
  expect(await readdir(dir)).toEqual(["notes"]);
  expect(await modeOf(dir)).toBe("755");
});
