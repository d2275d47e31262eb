// The issuer of issuer.ts against jose: its tokens are good, and what is wrong with each hostile one is what it says.
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { createLocalJWKSet, createRemoteJWKSet, errors, jwtVerify } from "jose";
import { type Algorithm, type Behaviour, HOSTILE_TOKENS, type IssuerServer, startIssuer } from "./issuer.js";

const DISCOVERY = "/.well-known/openid-configuration";

let issuer: IssuerServer;
beforeAll(async () => {
  issuer = await startIssuer();
});
afterEach(() => issuer.behave("answer"));
afterAll(() => issuer.stop());

async function verify(token: string) {
  return jwtVerify(token, createLocalJWKSet(await issuer.jwks()), {
    issuer: issuer.issuer,
    audience: issuer.audience,
    typ: "at+jwt",
    requiredClaims: ["exp", "sub"],
  });
}

test.each<Algorithm>(["RS256", "PS256", "ES256", "EdDSA"])(
  "an access token signed with %s is good",
  async (algorithm) => {
    const { payload, protectedHeader } = await verify(
      await issuer.sign({ sub: "bob" }, { key: issuer.key(algorithm) }),
    );
    expect(payload).toMatchObject({ sub: "bob", organization_id: "acme", roles: ["developer"] });
    expect(protectedHeader).toEqual({ alg: algorithm, kid: issuer.key(algorithm).kid, typ: "at+jwt" });
  },
);

test("jwks tells no private key", async () => {
  const { keys } = await issuer.jwks();
  expect(keys.map(({ alg }) => alg)).toEqual(["RS256", "PS256", "ES256", "EdDSA"]);
  for (const key of keys) expect(key).not.toHaveProperty("d");
});

/** The code of jose's refusal; `accepted` is what the service has to refuse by itself. */
const OUTCOMES: Readonly<Record<string, string>> = {
  "alg none": "ERR_JOSE_NOT_SUPPORTED",
  "alg None": "ERR_JOSE_NOT_SUPPORTED",
  "no signature": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
  "HS256 with the RSA public key as its secret": "ERR_JOSE_NOT_SUPPORTED",
  "an unknown kid": "ERR_JWKS_NO_MATCHING_KEY",
  "the kid of another key": "ERR_JWKS_NO_MATCHING_KEY",
  "another's key under a known kid": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
  "its own jwk": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
  "its own jwk under an unknown kid": "ERR_JWKS_NO_MATCHING_KEY",
  "its own jku": "ERR_JWKS_NO_MATCHING_KEY",
  "its own x5u": "ERR_JWKS_NO_MATCHING_KEY",
  "a critical parameter that nobody knows": "ERR_JOSE_NOT_SUPPORTED",
  "an exp in the past": "ERR_JWT_EXPIRED",
  "no exp": "ERR_JWT_CLAIM_VALIDATION_FAILED",
  "an exp that is text": "ERR_JWT_CLAIM_VALIDATION_FAILED",
  "an nbf in the future": "ERR_JWT_CLAIM_VALIDATION_FAILED",
  "another iss": "ERR_JWT_CLAIM_VALIDATION_FAILED",
  "no iss": "ERR_JWT_CLAIM_VALIDATION_FAILED",
  "another aud": "ERR_JWT_CLAIM_VALIDATION_FAILED",
  "the type logout+jwt": "ERR_JWT_CLAIM_VALIDATION_FAILED",
  "the type secevent+jwt": "ERR_JWT_CLAIM_VALIDATION_FAILED",
  "the type dpop+jwt": "ERR_JWT_CLAIM_VALIDATION_FAILED",
  "no aud": "ERR_JWT_CLAIM_VALIDATION_FAILED",
  "no sub": "ERR_JWT_CLAIM_VALIDATION_FAILED",
  "an empty sub": "accepted",
  "a sub that is a number": "accepted",
  "a sub that is a list": "accepted",
  "no organization_id": "accepted",
  "an organization_id that is an object": "accepted",
  "64 KB": "accepted",
  "one bit of its signature flipped": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
  "an altered payload": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
  "an ES256 signature in DER": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
  "a payload that is no object": "ERR_JWT_INVALID",
  "a payload that is no JSON": "ERR_JWT_INVALID",
  "two parts": "ERR_JWS_INVALID",
  "four parts": "ERR_JWS_INVALID",
  "a space before it": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
  "a space after it": "accepted",
  "a tab after it": "accepted",
  "a line break after it": "accepted",
  "spaces around its dots": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
  "a space within its signature": "accepted",
  padding: "accepted",
};

test.each(Object.entries(HOSTILE_TOKENS))("what jose makes of a token with %s", async (title, make) => {
  const token = await make(issuer);
  const outcome = await verify(token).then(
    () => "accepted",
    (error: Error) => (error instanceof errors.JOSEError ? error.code : error.message),
  );
  expect(outcome).toBe(OUTCOMES[title]);
  if (title === "64 KB") expect(token.length).toBeGreaterThan(64 * 1024);
});

const remote = () => createRemoteJWKSet(new URL(issuer.jwksUrl), { cooldownDuration: 0, timeoutDuration: 200 });

test("the server tells its keys where its discovery document says, and counts", async () => {
  const before = issuer.requests("/jwks");
  const discovery = await (await fetch(`${issuer.issuer}${DISCOVERY}`)).json();
  expect(discovery).toEqual({ issuer: issuer.issuer, jwks_uri: issuer.jwksUrl });
  await jwtVerify(await issuer.sign(), remote());
  expect(issuer.requests("/jwks")).toBe(before + 1);
  expect(issuer.requests(DISCOVERY)).toBe(1);
});

test("after a rotation the new keys are told, and the old ones are not", async () => {
  const old = await issuer.sign();
  const keys = remote();
  await jwtVerify(old, keys);
  await issuer.rotateKeys();
  await jwtVerify(await issuer.sign(), keys);
  await expect(jwtVerify(old, keys)).rejects.toThrow(errors.JWKSNoMatchingKey);
});

test.each<[Behaviour, string]>([
  ["fail", "Expected 200 OK"],
  ["hang", "request timed out"],
  ["garbage", "Failed to parse"],
  ["redirect", "Expected 200 OK"],
])("a server told to %s gives no keys", async (behaviour, message) => {
  issuer.behave(behaviour);
  await expect(jwtVerify(await issuer.sign(), remote())).rejects.toThrow(message);
});

test("a server told to be huge answers more than 2 MB, which are right otherwise", async () => {
  issuer.behave("huge");
  expect((await (await fetch(issuer.jwksUrl)).text()).length).toBeGreaterThan(2 * 1024 * 1024);
  await jwtVerify(await issuer.sign(), remote());
});

test("a redirect leads to the keys", async () => {
  issuer.behave("redirect");
  expect(await (await fetch(issuer.jwksUrl)).json()).toEqual(await issuer.jwks());
  expect(issuer.requests("/elsewhere")).toBe(1);
});
