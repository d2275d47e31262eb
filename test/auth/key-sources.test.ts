// Where the issuer's keys are read from: a URL, where a discovery document says, or a file; and what is no key set.
import { writeFile } from "node:fs/promises";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from "@jest/globals";
import { jwtVerify } from "jose";
import {
  isTrustworthy,
  KeySet,
  type KeySource,
  keysByDiscovery,
  keysFromFile,
  keysFromUrl,
} from "../../src/auth/key-set.js";
import { eventually, temporaryFolder } from "../harness.js";
import { type IssuerServer, startIssuer } from "../issuer.js";

const UNAVAILABLE = {
  name: "ApiTokenError",
  reason: "ISSUER_UNAVAILABLE",
  message: "the credential cannot be checked now: the keys of its issuer are not known",
};
const WARNING = "the issuer's keys cannot be read";

let issuer: IssuerServer;
let nowMs: number;
let warnings: string[];
beforeAll(async () => {
  issuer = await startIssuer();
});
beforeEach(() => {
  nowMs = 0;
  warnings = [];
});
afterEach(() => void jest.restoreAllMocks());
afterAll(() => issuer.stop());

function keySet(source: KeySource): KeySet {
  return new KeySet(source, { nowMs: () => nowMs, warn: (text) => warnings.push(text) });
}

const check = (token: string, from: KeySet) => jwtVerify(token, (header) => from.find(header));
const fetches = () => issuer.requests("/jwks");

async function listen(handle: RequestListener) {
  const server = createServer(handle);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const stop = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url, stop };
}

test("an issuer that begins an answer and never ends it is down after 5 s", async () => {
  const slow = await listen((_request, response) => response.writeHead(200).write('{"keys":['));
  // Node's own timeout, a hundred times as fast.
  const timeout = AbortSignal.timeout.bind(AbortSignal);
  jest.spyOn(AbortSignal, "timeout").mockImplementation((ms) => {
    expect(ms).toBe(5000);
    return timeout(ms / 100);
  });
  expect(await keySet(keysFromUrl(slow.url)).warm()).toBe(false);
  slow.stop();
});

test.each([
  ["no keys", "{}"],
  ["keys that are no list", '{"keys":{}}'],
  ["a list", "[]"],
  ["null", "null"],
  ["a number", "1"],
  ["nothing", ""],
])("an answer of %s is no key set", async (_title, body) => {
  const server = await listen((_request, response) => response.end(body));
  const set = keySet(keysFromUrl(server.url));
  expect(await set.warm()).toBe(false);
  expect(warnings).toEqual([WARNING]);
  await expect(check(await issuer.sign(), set)).rejects.toMatchObject(UNAVAILABLE);
  server.stop();
});

test("discovery finds the keys where the issuer's own document says, with or without a slash at its end", async () => {
  const discovered = keySet(keysByDiscovery(issuer.issuer));
  await check(await issuer.sign(), discovered);
  expect(issuer.requests("/.well-known/openid-configuration")).toBe(1);
  const slashed = await listen((_request, response) =>
    response.end(JSON.stringify({ issuer: `${slashed.url}/`, jwks_uri: issuer.jwksUrl })),
  );
  await check(await issuer.sign(), keySet(keysByDiscovery(`${slashed.url}/`)));
  slashed.stop();
});

test.each<[string, (document: { issuer: string; jwks_uri: string }) => object]>([
  ["of another issuer", (document) => ({ ...document, issuer: "https://issuer.example" })],
  ["of the issuer with a slash more", (document) => ({ ...document, issuer: `${document.issuer}/` })],
  ["of no issuer", ({ jwks_uri }) => ({ jwks_uri })],
  ["without jwks_uri", (document) => ({ issuer: document.issuer })],
  ["with a jwks_uri that is a list", (document) => ({ ...document, jwks_uri: [document.jwks_uri] })],
  ["with keys in plaintext elsewhere", (document) => ({ ...document, jwks_uri: "http://issuer.example/jwks" })],
  ["with keys in a file", (document) => ({ ...document, jwks_uri: "file:///etc/jwks" })],
  ["that is a list", () => []],
])("a discovery document %s is refused, and the keys are not asked for", async (_title, change) => {
  const before = fetches();
  const other = await listen((_request, response) =>
    response.end(JSON.stringify(change({ issuer: other.url, jwks_uri: issuer.jwksUrl }))),
  );
  const set = keySet(keysByDiscovery(other.url));
  expect(await set.warm()).toBe(false);
  expect(warnings).toEqual([WARNING]);
  expect(fetches()).toBe(before);
  await expect(check(await issuer.sign(), set)).rejects.toMatchObject(UNAVAILABLE);
  other.stop();
});

test("only https, and http on loopback, is trustworthy", () => {
  for (const url of [
    "https://a.example/k",
    "http://127.0.0.1:1/k",
    "http://127.1.2.3/",
    "http://[::1]/",
    "http://localhost/",
  ])
    expect([url, isTrustworthy(url)]).toEqual([url, true]);
  for (const url of [
    "http://a.example/",
    "http://localhost.example/",
    "http://127.0.0.1.example/",
    "http://127.0.0.1@a.example/",
    "ftp://127.0.0.1/",
    "data:,x",
    "/jwks",
    "",
  ])
    expect([url, isTrustworthy(url)]).toEqual([url, false]);
});

test("a file is read anew after 10 minutes, or when a token names a key that it did not hold", async () => {
  const folder = await temporaryFolder();
  const path = join(folder.path, "jwks.json");
  const write = async () => writeFile(path, JSON.stringify(await issuer.jwks()));
  await write();
  const set = keySet(keysFromFile(path));
  await check(await issuer.sign(), set);
  await issuer.rotateKeys();
  await write();
  nowMs = 30_000;
  await check(await issuer.sign(), set);
  await writeFile(path, '{"keys":');
  nowMs = 11 * 60_000;
  await check(await issuer.sign(), set);
  await eventually(() => expect(warnings).toEqual([WARNING]));
  await check(await issuer.sign(), set);
  await folder.remove();
});
