// Which JWTs are let in, and as whom. The keys come from the issuer's server, the claims from its tokens.
import { afterAll, afterEach, beforeAll, expect, jest, test } from "@jest/globals";
import { type AccessTokenOptions, AccessTokens, ALGORITHMS } from "../../src/auth/access-tokens.js";
import { KeySet, keysFromUrl } from "../../src/auth/key-set.js";
import { readConfig } from "../../src/config.js";
import type { Principal } from "../../src/domain/access.js";
import { type Claims, HOSTILE_TOKENS, type IssuerServer, type SignOptions, startIssuer } from "../issuer.js";

let issuer: IssuerServer;
let keys: KeySet;
beforeAll(async () => {
  issuer = await startIssuer();
  keys = new KeySet(keysFromUrl(issuer.jwksUrl), { nowMs: () => performance.now(), warn: () => {} });
});
afterEach(() => void jest.useRealTimers());
afterAll(() => issuer.stop());

/** As configured by the environment. */
function accessTokens(env: Readonly<Record<string, string>> = {}): AccessTokens {
  const { jwt } = readConfig({
    JWT_ISSUER: issuer.issuer,
    JWT_AUDIENCE: issuer.audience,
    JWT_JWKS_URL: issuer.jwksUrl,
    ...env,
  });
  return new AccessTokens(keys, jwt as AccessTokenOptions);
}

async function identify(
  claims: Claims,
  options?: SignOptions,
  env?: Readonly<Record<string, string>>,
): Promise<Principal> {
  return accessTokens(env).verify(await issuer.sign(claims, options), DIGEST);
}

function refused(cause: unknown) {
  return { name: "ApiTokenError", reason: "UNAUTHENTICATED", message: "a valid credential is required", cause };
}

/** What is remembered is told apart by it. */
const DIGEST = "digest";

const EXPIRED = "ERR_JWT_EXPIRED";
const CLAIM = "ERR_JWT_CLAIM_VALIDATION_FAILED";
const SIGNATURE = "ERR_JWS_SIGNATURE_VERIFICATION_FAILED";
const ALGORITHM = "ERR_JOSE_ALG_NOT_ALLOWED";
const NO_KEY = "ERR_JWKS_NO_MATCHING_KEY";
const NO_JWT = "it is no JWT";
const NOBODY = "the JWT names nobody";
const OTHER_TYPE = "the JWT is of another type";

/** What the log is told of each, which is all that tells them apart. */
const CAUSES: Readonly<Record<string, string>> = {
  "alg none": NO_JWT,
  "alg None": NO_JWT,
  "no signature": NO_JWT,
  "HS256 with the RSA public key as its secret": ALGORITHM,
  "an unknown kid": NO_KEY,
  "the kid of another key": NO_KEY,
  "another's key under a known kid": SIGNATURE,
  "its own jwk": SIGNATURE,
  "its own jwk under an unknown kid": NO_KEY,
  "its own jku": NO_KEY,
  "its own x5u": NO_KEY,
  "a critical parameter that nobody knows": "ERR_JOSE_NOT_SUPPORTED",
  "the type logout+jwt": OTHER_TYPE,
  "the type secevent+jwt": OTHER_TYPE,
  "the type dpop+jwt": OTHER_TYPE,
  "an exp in the past": EXPIRED,
  "no exp": CLAIM,
  "an exp that is text": CLAIM,
  "an nbf in the future": CLAIM,
  "another iss": CLAIM,
  "no iss": CLAIM,
  "another aud": CLAIM,
  "no aud": CLAIM,
  "no sub": NOBODY,
  "an empty sub": NOBODY,
  "a sub that is a number": NOBODY,
  "a sub that is a list": NOBODY,
  "no organization_id": NOBODY,
  "an organization_id that is an object": NOBODY,
  "one bit of its signature flipped": SIGNATURE,
  "an altered payload": SIGNATURE,
  "an ES256 signature in DER": SIGNATURE,
  "a payload that is no object": "ERR_JWT_INVALID",
  "a payload that is no JSON": "ERR_JWT_INVALID",
  "two parts": NO_JWT,
  "four parts": NO_JWT,
  "a space before it": NO_JWT,
  "a space after it": NO_JWT,
  "a tab after it": NO_JWT,
  "a line break after it": NO_JWT,
  "spaces around its dots": NO_JWT,
  "a space within its signature": NO_JWT,
  padding: NO_JWT,
};

// 64 KB is what the limit of metadata is for.
const HOSTILE = Object.entries(HOSTILE_TOKENS).filter(([title]) => title !== "64 KB");

test.each(HOSTILE)("a JWT with %s lets nobody in, and the log's cause is a fixed word", async (title, make) => {
  await expect(accessTokens().verify(await make(issuer), DIGEST)).rejects.toEqual(
    expect.objectContaining(refused(CAUSES[title])),
  );
});

test.each(["", ".", "..", "...", "a.b.c", "e30.e30.e30", "null.null.null", "bnVsbA.bnVsbA.bnVsbA"])(
  "%j is no JWT that lets anybody in",
  async (text) => {
    await expect(accessTokens().verify(text, DIGEST)).rejects.toMatchObject({
      ...refused(expect.stringMatching(/^(?:it is no JWT|the JWT cannot be checked|ERR_JW[ST]_INVALID)$/)),
    });
  },
);

test.each(["RS256", "PS256", "ES256", "EdDSA"] as const)(
  "a JWT signed with %s is good, for user and organization of its claims",
  async (algorithm) => {
    const caller = await identify({ sub: "bob", organization_id: "initech" }, { key: issuer.key(algorithm) });
    expect(caller).toEqual({
      kind: "user",
      actor: "user:bob",
      organizationId: "initech",
      userId: "bob",
      roles: new Set(["developer"]),
      grants: new Set(),
      token: undefined,
    });
  },
);

test.each([undefined, "JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+JWT"])(
  "a JWT of the type %s is good",
  async (typ) => {
    expect((await identify({}, { header: { typ } })).userId).toBe("alice");
  },
);

test("a good JWT whose algorithm is not on the list lets nobody in", async () => {
  const env = { JWT_ALGORITHMS: "ES256,RS256" };
  for (const algorithm of ["ES256", "RS256"] as const) await identify({}, { key: issuer.key(algorithm) }, env);
  for (const algorithm of ["PS256", "EdDSA"] as const) {
    await expect(identify({}, { key: issuer.key(algorithm) }, env)).rejects.toMatchObject(refused(ALGORITHM));
  }
});

test("no list of algorithms can hold one with a shared secret, or none", () => {
  expect(ALGORITHMS.filter((name) => /^HS|none/i.test(name))).toEqual([]);
  for (const name of ["HS256", "none", "ES256,HS256", "es256", ""]) {
    if (name !== "") expect(() => accessTokens({ JWT_ALGORITHMS: name })).toThrow("JWT_ALGORITHMS must be some of");
  }
});

test("one of several audiences is enough, and an audience of another case is not", async () => {
  await identify({ aud: ["other-service", issuer.audience] });
  await expect(identify({ aud: issuer.audience.toUpperCase() })).rejects.toMatchObject(refused(CLAIM));
});

/** The wall clock stands still; everything else runs. */
function stopClock(): number {
  const nowSeconds = 1_900_000_000;
  jest.useFakeTimers({
    now: nowSeconds * 1000,
    doNotFake: [
      "hrtime",
      "nextTick",
      "performance",
      "queueMicrotask",
      "setImmediate",
      "clearImmediate",
      "setInterval",
      "clearInterval",
      "setTimeout",
      "clearTimeout",
    ],
  });
  return nowSeconds;
}

test.each([
  ["30s", 30],
  ["0s", 0],
  ["5m", 300],
])(
  "with a clock tolerance of %s a JWT is good until %s s after its exp, and from as long before its nbf",
  async (setting, tolerance) => {
    const now = stopClock();
    const env = { JWT_CLOCK_TOLERANCE: setting };
    await identify({ exp: now - tolerance + 1 }, {}, env);
    await expect(identify({ exp: now - tolerance }, {}, env)).rejects.toMatchObject(refused(EXPIRED));
    await identify({ nbf: now + tolerance }, {}, env);
    await expect(identify({ nbf: now + tolerance + 1 }, {}, env)).rejects.toMatchObject(refused(CLAIM));
  },
);

test("organization, user and roles can be in other claims, and then the usual ones say nothing", async () => {
  const env = {
    JWT_ORGANIZATION_CLAIM: "https://acme.example/org",
    JWT_USER_CLAIM: "email",
    JWT_ROLES_CLAIM: "groups",
  };
  const claims = { "https://acme.example/org": "umbrella", email: "carol@acme.example", groups: ["ops"] };
  expect(await identify(claims, {}, env)).toMatchObject({
    actor: "user:carol@acme.example",
    organizationId: "umbrella",
    userId: "carol@acme.example",
    roles: new Set(["ops"]),
  });
  await expect(identify({ ...claims, email: undefined }, {}, env)).rejects.toMatchObject(refused(NOBODY));
});

test.each([["-"], ["al ice"], ["älice"], ["a\nb"], ["a".repeat(256)], [true], [null], [{}]])(
  "%j names no user and no organization",
  async (name) => {
    await expect(identify({ sub: name })).rejects.toMatchObject(refused(NOBODY));
    await expect(identify({ organization_id: name })).rejects.toMatchObject(refused(NOBODY));
  },
);

test.each<[string, unknown, readonly string[]]>([
  ["an array", ["a", "b"], ["a", "b"]],
  ["an array with a name that has a space", ["a b"], ["a b"]],
  ["text", "a", ["a"]],
  ["text with spaces", " a  b ", ["a", "b"]],
  ["an array with other things in it", ["a", 1, null, ["b"], { c: "c" }, ""], ["a"]],
  ["absent", undefined, []],
  ["null", null, []],
  ["a number", 1, []],
  ["an object", { a: true }, []],
  ["empty text", "", []],
])("roles that are %s are what a caller holds", async (_title, roles, held) => {
  expect((await identify({ roles })).roles).toEqual(new Set(held));
});

test.each<[string, unknown, Principal["kind"]]>([
  ["the role in an array", ["organization-administrator"], "administrator"],
  ["the role in text", "developer organization-administrator", "administrator"],
  ["the role in another case", ["Organization-Administrator"], "user"],
  ["a longer role", ["organization-administrators"], "user"],
  ["the role within an array", [["organization-administrator"]], "user"],
  ["the role as a key", { "organization-administrator": true }, "user"],
  ["true", true, "user"],
])("%s: the caller is an %s only by the administrator role itself", async (_title, roles, kind) => {
  expect((await identify({ roles })).kind).toBe(kind);
});

test("the administrator role has the name that is configured, and no other", async () => {
  const env = { JWT_ADMINISTRATOR_ROLE: "root" };
  expect((await identify({ roles: ["root"] }, {}, env)).kind).toBe("administrator");
  expect((await identify({ roles: ["organization-administrator"] }, {}, env)).kind).toBe("user");
});

test.each<[unknown, readonly string[]]>([
  ["apitoken.verify", ["verify"]],
  ["openid apitoken.verify profile", ["verify"]],
  [["apitoken.verify"], ["verify"]],
  ["apitoken.verify.all", []],
  ["APITOKEN.VERIFY", []],
  ["openid,apitoken.verify", []],
  [{ "apitoken.verify": true }, []],
  [undefined, []],
])("the scope %j grants %j", async (scope, grants) => {
  expect((await identify({ scope })).grants).toEqual(new Set(grants));
});

test("without any keys a JWT is not bad but cannot be checked", async () => {
  const away = new KeySet(() => Promise.reject(new Error("away")), { nowMs: () => 0, warn: () => {} });
  const options = readConfig({ JWT_ISSUER: issuer.issuer, JWT_AUDIENCE: issuer.audience }).jwt as AccessTokenOptions;
  await expect(new AccessTokens(away, options).verify(await issuer.sign(), DIGEST)).rejects.toMatchObject({
    name: "ApiTokenError",
    reason: "ISSUER_UNAVAILABLE",
    message: "the credential cannot be checked now: the keys of its issuer are not known",
  });
});
