// Where the keys that JWTs are checked with come from: real requests to a real issuer, and a clock that the test moves.

import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { jwtVerify } from "jose";
import { KeySet, keysFromUrl } from "../../src/auth/key-set.js";
import { eventually } from "../harness.js";
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
  keys = new KeySet(keysFromUrl(issuer.jwksUrl), { nowMs: () => nowMs, warn: (text) => warnings.push(text) });
});
afterEach(async () => {
  jest.restoreAllMocks();
  await issuer.stop();
});

const check = (token: string) => jwtVerify(token, (header) => keys.find(header));
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
