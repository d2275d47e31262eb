// Where the keys that JWTs are checked with come from: real requests to a real issuer, and a clock that the test moves.

import { writeFile } from "node:fs/promises";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
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
import { type Behaviour, type IssuerServer, type SignOptions, startIssuer } from "../issuer.js";

const SECOND_MS = 1000;
const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const UNAVAILABLE = {
  name: "ApiTokenError",
  reason: "ISSUER_UNAVAILABLE",
  message: "the credential cannot be checked now: the keys of its issuer are not known",
};
const UNKNOWN_KEY = {
  code: "ERR_JWKS_NO_MATCHING_KEY",
  message: "no applicable key found in the JSON Web Key Set",
};
const WARNING = "the issuer's keys cannot be read";

let issuer: IssuerServer;
let nowMs: number;
let warnings: string[];
let keys: KeySet;
beforeEach(async () => {
  issuer = await startIssuer();
  nowMs = 0;
  warnings = [];
  keys = keySet(keysFromUrl(issuer.jwksUrl));
});
afterEach(async () => {
  jest.restoreAllMocks();
  await issuer.stop();
});

function keySet(source: KeySource): KeySet {
  return new KeySet(source, { nowMs: () => nowMs, warn: (text) => warnings.push(text) });
}

const check = (token: string, from = keys) => jwtVerify(token, (header) => from.find(header));
const signed = (options?: SignOptions) => issuer.sign({}, options);
const unknown = (kid: string) => signed({ header: { kid } });
const fetches = () => issuer.requests("/jwks");

/** The keys have been read at 0, and there was one request. */
async function warm(): Promise<void> {
  expect(await keys.warm()).toBe(true);
  expect(fetches()).toBe(1);
}

test("the issuer is asked once, by whoever comes first, and every key of the answer is known", async () => {
  for (const algorithm of ["RS256", "PS256", "ES256", "EdDSA"] as const) {
    await check(await signed({ key: issuer.key(algorithm) }));
  }
  expect(fetches()).toBe(1);
  expect(warnings).toEqual([]);
});

test("callers that come together share one request, and all get their key", async () => {
  const tokens = await Promise.all(Array.from({ length: 50 }, () => signed()));
  await Promise.all(tokens.map((token) => check(token)));
  expect(fetches()).toBe(1);
});

test("unknown keys ask the issuer at most once in 30 s, however many they are", async () => {
  await warm();
  const hostile = await Promise.all(Array.from({ length: 100 }, (_, at) => unknown(`unknown-${at}`)));
  const askAll = async () => {
    const results = await Promise.allSettled(hostile.map((token) => check(token)));
    for (const result of results) expect(result).toMatchObject({ status: "rejected", reason: UNKNOWN_KEY });
  };
  await askAll();
  nowMs = 30 * SECOND_MS - 1;
  await askAll();
  expect(fetches()).toBe(1);
  nowMs = 30 * SECOND_MS;
  await askAll();
  await askAll();
  expect(fetches()).toBe(2);
  nowMs = 60 * SECOND_MS - 1;
  await askAll();
  expect(fetches()).toBe(2);
});

test("unknown keys do not keep the good ones from being found", async () => {
  await warm();
  nowMs = 31 * SECOND_MS;
  issuer.behave("hang");
  const waiting = check(await unknown("unknown"));
  await eventually(() => expect(fetches()).toBe(2));
  await check(await signed());
  await issuer.stop();
  await expect(waiting).rejects.toMatchObject(UNKNOWN_KEY);
  issuer = await startIssuer();
});

test("keys of 10 minutes are good without another request; older ones are read anew while nobody waits", async () => {
  await warm();
  nowMs = 10 * MINUTE_MS;
  await check(await signed());
  expect(fetches()).toBe(1);
  nowMs += 1;
  issuer.behave("hang");
  await check(await signed());
  await eventually(() => expect(fetches()).toBe(2));
  await check(await signed());
  expect(fetches()).toBe(2);
});

test("after a background refresh a key that the issuer has taken back is good for nobody", async () => {
  await warm();
  const old = await signed();
  await issuer.rotateKeys();
  await check(old);
  nowMs = 10 * MINUTE_MS + 1;
  await check(old);
  await eventually(() => expect(check(old)).rejects.toMatchObject(UNKNOWN_KEY));
  await check(await signed());
  expect(fetches()).toBe(2);
});

test("a new key of the issuer is found 30 s after the last request, and not before", async () => {
  await warm();
  await issuer.rotateKeys();
  const token = await signed();
  nowMs = 30 * SECOND_MS - 1;
  await expect(check(token)).rejects.toMatchObject(UNKNOWN_KEY);
  nowMs = 30 * SECOND_MS;
  await check(token);
  expect(fetches()).toBe(2);
});

test("while the issuer is down old keys are good for an hour and not longer, and new ones are when it is back", async () => {
  await warm();
  issuer.behave("fail");
  nowMs = HOUR_MS;
  await check(await signed());
  await eventually(() => expect(warnings).toEqual([WARNING]));
  nowMs = HOUR_MS + 1;
  await expect(check(await signed())).rejects.toMatchObject(UNAVAILABLE);
  await expect(check(await unknown("unknown"))).rejects.toMatchObject(UNAVAILABLE);
  expect(fetches()).toBe(2);

  issuer.behave("answer");
  nowMs = HOUR_MS + 30 * SECOND_MS - 1;
  await expect(check(await signed())).rejects.toMatchObject(UNAVAILABLE);
  nowMs = HOUR_MS + 30 * SECOND_MS;
  await check(await signed());
  expect(fetches()).toBe(3);
});

test("a server that starts while its issuer is away has no keys, says so, and finds them later", async () => {
  issuer.behave("fail");
  expect(await keys.warm()).toBe(false);
  expect(warnings).toEqual([WARNING]);
  await expect(check(await signed())).rejects.toMatchObject(UNAVAILABLE);
  issuer.behave("answer");
  nowMs = 30 * SECOND_MS;
  await check(await signed());
});

test("an issuer that nobody listens for is down", async () => {
  await warm();
  const token = await signed();
  await issuer.stop();
  nowMs = HOUR_MS + 1;
  await expect(check(token)).rejects.toMatchObject(UNAVAILABLE);
  issuer = await startIssuer();
});

test.each<Behaviour>(["fail", "garbage", "huge", "redirect"])(
  "an issuer whose answers %s is down: its old keys stay, and nothing else is followed",
  async (behaviour) => {
    await warm();
    await issuer.rotateKeys();
    issuer.behave(behaviour);
    nowMs = 30 * SECOND_MS;
    await expect(check(await signed())).rejects.toMatchObject(UNKNOWN_KEY);
    expect(fetches()).toBe(2);
    expect(issuer.requests("/elsewhere")).toBe(0);
    expect(warnings).toEqual([WARNING]);
    nowMs = HOUR_MS + 1;
    await expect(check(await signed())).rejects.toMatchObject(UNAVAILABLE);
  },
);

/** Node's own timeout, which must be of 5 s, a hundred times as fast. */
function shortenTimeouts(): void {
  const timeout = AbortSignal.timeout.bind(AbortSignal);
  jest.spyOn(AbortSignal, "timeout").mockImplementation((ms) => {
    expect(ms).toBe(5000);
    return timeout(ms / 100);
  });
}

test("an issuer that does not answer is down after 5 s", async () => {
  shortenTimeouts();
  issuer.behave("hang");
  await expect(check(await signed())).rejects.toMatchObject(UNAVAILABLE);
  expect(warnings).toEqual([WARNING]);
});

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
  shortenTimeouts();
  const slow = await listen((_request, response) => response.writeHead(200).write('{"keys":['));
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
  await expect(check(await signed(), set)).rejects.toMatchObject(UNAVAILABLE);
  server.stop();
});

test("discovery finds the keys where the issuer's own document says, with or without a slash at its end", async () => {
  const discovered = keySet(keysByDiscovery(issuer.issuer));
  await check(await signed(), discovered);
  expect(issuer.requests("/.well-known/openid-configuration")).toBe(1);
  const slashed = await listen((_request, response) =>
    response.end(JSON.stringify({ issuer: `${slashed.url}/`, jwks_uri: issuer.jwksUrl })),
  );
  await check(await signed(), keySet(keysByDiscovery(`${slashed.url}/`)));
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
  const other = await listen((_request, response) =>
    response.end(JSON.stringify(change({ issuer: other.url, jwks_uri: issuer.jwksUrl }))),
  );
  const set = keySet(keysByDiscovery(other.url));
  expect(await set.warm()).toBe(false);
  expect(warnings).toEqual([WARNING]);
  expect(fetches()).toBe(0);
  await expect(check(await signed(), set)).rejects.toMatchObject(UNAVAILABLE);
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
  await check(await signed(), set);
  await issuer.rotateKeys();
  await write();
  nowMs = 30 * SECOND_MS;
  await check(await signed(), set);
  await writeFile(path, '{"keys":');
  nowMs = 11 * MINUTE_MS;
  await check(await signed(), set);
  await eventually(() => expect(warnings).toEqual([WARNING]));
  await check(await signed(), set);
  expect(fetches()).toBe(0);
  await folder.remove();
});
