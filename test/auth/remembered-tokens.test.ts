// A JWT that was checked is not checked again for every call, and no longer believed than it may be.
import { hash } from "node:crypto";
import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { AccessTokens, ALGORITHMS } from "../../src/auth/access-tokens.js";
import { KeySet } from "../../src/auth/key-set.js";
import type { Principal } from "../../src/domain/access.js";
import { createIssuer, type Issuer } from "../issuer.js";

const UNAUTHENTICATED = "a valid credential is required";

let issuer: Issuer;
let nowMs: number;
let accessTokens: AccessTokens;
let checks: number;
beforeEach(async () => {
  issuer = await createIssuer();
  nowMs = Date.now();
  jest.spyOn(Date, "now").mockImplementation(() => nowMs);
  checks = 0;
  const keys = new KeySet(() => issuer.jwks(), { nowMs: () => nowMs, warn: () => {} });
  await keys.warm();
  const find = keys.find.bind(keys);
  keys.find = (header) => {
    checks += 1;
    return find(header);
  };
  accessTokens = new AccessTokens(keys, {
    issuer: issuer.issuer,
    audience: issuer.audience,
    algorithms: ALGORITHMS,
    clockToleranceMs: 0,
    organizationClaim: "organization_id",
    userClaim: "sub",
    rolesClaim: "roles",
    administratorRole: "administrator",
  });
});
afterEach(() => {
  jest.restoreAllMocks();
});

/** As the authenticator does. */
async function verify(jwt: string): Promise<Principal> {
  const digest = hash("sha256", jwt, "base64url");
  return accessTokens.recall(digest) ?? accessTokens.verify(jwt, digest);
}

test("a JWT is checked once a minute, each for its own user", async () => {
  const [alice, bob] = [await issuer.sign(), await issuer.sign({ sub: "bob" })];
  for (let i = 0; i < 5; i += 1) {
    expect((await verify(alice)).userId).toBe("alice");
    expect((await verify(bob)).userId).toBe("bob");
  }
  expect(checks).toBe(2);
  nowMs += 60_000;
  await verify(alice);
  expect(checks).toBe(3);
});

test("an altered JWT is not the one that was remembered", async () => {
  const jwt = await issuer.sign();
  await verify(jwt);
  const [header, payload, signature = ""] = jwt.split(".");
  const other = `${header}.${payload}.${signature.startsWith("A") ? "B" : "A"}${signature.slice(1)}`;
  await expect(verify(other)).rejects.toThrow(UNAUTHENTICATED);
});

test("an expired JWT is not remembered", async () => {
  jest.useFakeTimers({ now: nowMs, doNotFake: ["nextTick", "setImmediate", "queueMicrotask"] });
  jest.spyOn(Date, "now").mockImplementation(() => nowMs);
  const jwt = await issuer.sign({}, { expiresInSeconds: 10 });
  await verify(jwt);
  nowMs += 11_000;
  jest.setSystemTime(nowMs);
  await expect(verify(jwt)).rejects.toThrow(UNAUTHENTICATED);
  jest.useRealTimers();
});

test("keys that the issuer has taken back end what was remembered of them, as soon as they are read anew", async () => {
  const jwt = await issuer.sign();
  await verify(jwt);
  await issuer.rotateKeys();
  nowMs += 31_000;
  // A token of the new keys makes the key set read them.
  await verify(await issuer.sign());
  await expect(verify(jwt)).rejects.toThrow(UNAUTHENTICATED);
});
