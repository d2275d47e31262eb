// What counts as a bearer credential, over real TLS: the header's forms, what must not stand beside it, and that every
// refusal is the same to the last byte.

import type { ClientHttp2Session, OutgoingHttpHeaders } from "node:http2";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { eventually } from "../harness.js";
import { HOSTILE_TOKENS } from "../issuer.js";
import { bearer, rawCall, type SecureService, startSecureService, UNAUTHENTICATED } from "../secure-service.js";

const LIST = "/apitoken.v1.ApiTokenService/ListTokens";

let service: SecureService;
let session: ClientHttp2Session;
let jwt: string;
/** A live API token of alice, and one that was renewed away. */
let apiToken: string;
let superseded: string;
beforeAll(async () => {
  service = await startSecureService({ TOKENS_MAY_MANAGE: "owner" });
  session = service.openSession();
  jwt = await service.issuer.sign();
  const alice = bearer(jwt);
  apiToken = (await service.tokens.createToken({ name: "mine" }, alice)).token;
  superseded = (await service.tokens.createToken({ name: "old" }, alice)).token;
  await service.tokens.renewToken({ name: "old" }, alice);
});
afterAll(() => service.stop());

const OK = "0";
const call = (headers: OutgoingHttpHeaders) => rawCall(session, LIST, headers);
const statusOf = async (headers: OutgoingHttpHeaders) => (await call(headers))["grpc-status"];

/** The answer to a call without any credential, which every other refusal has to equal. */
const refusal = () => call({});

test("a call without a credential is UNAUTHENTICATED with the one fixed text and details", async () => {
  await expect(service.tokens.listTokens({})).rejects.toMatchObject(UNAUTHENTICATED);
  expect(await refusal()).toEqual({
    ":status": 200,
    "content-type": "application/grpc+proto",
    "grpc-status": "16",
    "grpc-message": "a%20valid%20credential%20is%20required",
    "grpc-status-details-bin": expect.stringMatching(/^[A-Za-z0-9+/]+=*$/),
  });
});

test.each(["Bearer", "bearer", "BEARER", "bEaReR"])("the scheme %s is good for JWTs and API tokens", async (scheme) => {
  expect(await statusOf({ authorization: `${scheme} ${jwt}` })).toBe(OK);
  expect(await statusOf({ authorization: `${scheme} ${apiToken}` })).toBe(OK);
});

const BAD_HEADERS: readonly [title: string, make: (credential: string) => string][] = [
  ["nothing in it", () => ""],
  ["the scheme alone", () => "Bearer"],
  ["the scheme and a space", () => "Bearer "],
  ["no scheme", (credential) => credential],
  ["two spaces", (credential) => `Bearer  ${credential}`],
  ["a tab", (credential) => `Bearer\t${credential}`],
  ["a space within", (credential) => `Bearer ${credential.slice(0, 10)} ${credential.slice(10)}`],
  ["two credentials", (credential) => `Bearer ${credential} ${credential}`],
  ["two credentials with a comma", (credential) => `Bearer ${credential},Bearer ${credential}`],
  ["the credential in quotes", (credential) => `Bearer "${credential}"`],
  ["a comma after it", (credential) => `Bearer ${credential},`],
  ["a parameter", (credential) => `Bearer token=${credential}`],
  ["Basic", (credential) => `Basic ${Buffer.from(`alice:${credential}`).toString("base64")}`],
  ["Basic with it as it is", (credential) => `Basic ${credential}`],
  ["DPoP", (credential) => `DPoP ${credential}`],
  ["a longer scheme", (credential) => `Bearers ${credential}`],
  ["a colon after the scheme", (credential) => `Bearer: ${credential}`],
  ["a byte above 127 after it", (credential) => `Bearer ${credential}\xff`],
  ["a byte above 127 before it", (credential) => `\xe9Bearer ${credential}`],
  ["a character more", (credential) => `Bearer ${credential}x`],
  ["a character less", (credential) => `Bearer ${credential.slice(0, -1)}`],
  ["10 KB", (credential) => `Bearer ${credential}${"x".repeat(10_000)}`],
];

test.each(BAD_HEADERS)(
  "an authorization with %s is UNAUTHENTICATED, byte for byte as no credential",
  async (_title, make) => {
    for (const credential of [jwt, apiToken]) {
      expect(await call({ authorization: make(credential) })).toEqual(await refusal());
    }
  },
);

// A header has no line break and no white space at its end, and 64 KB are refused for their size: see below.
const UNSENDABLE = ["64 KB", "a space after it", "a tab after it", "a line break after it"];
const HOSTILE = Object.entries(HOSTILE_TOKENS).filter(([title]) => !UNSENDABLE.includes(title));

test.each(HOSTILE)("a JWT with %s is UNAUTHENTICATED, byte for byte as no credential", async (_title, make) => {
  expect(await call({ authorization: `Bearer ${await make(service.issuer)}` })).toEqual(await refusal());
});

test("API tokens that are not alive are UNAUTHENTICATED, byte for byte as no credential", async () => {
  const otherSecret = apiToken.slice(0, 40) + superseded.slice(40);
  const never = apiToken.replace(/^apt_/, "apx_");
  for (const dead of [superseded, otherSecret, never, apiToken.toUpperCase(), "apt_", "apt_x"]) {
    expect(await call({ authorization: `Bearer ${dead}` })).toEqual(await refusal());
  }
});

test.each(["x-organization-id", "x-user-id", "x-organization-admin"])(
  "%s beside a bearer credential or alone is UNAUTHENTICATED, byte for byte as no credential",
  async (key) => {
    for (const authorization of [`Bearer ${jwt}`, `Bearer ${apiToken}`]) {
      for (const value of ["acme", "alice", "true", "false", "", ["alice", "alice"]]) {
        expect(await call({ authorization, [key]: value })).toEqual(await refusal());
      }
    }
    expect(await call({ [key]: "true" })).toEqual(await refusal());
  },
);

test("a credential in another place than authorization counts for nothing", async () => {
  const value = `Bearer ${jwt}`;
  for (const key of ["proxy-authorization", "x-authorization", "cookie", "authorization-bin", "access_token"]) {
    expect(await call({ [key]: value })).toEqual(await refusal());
  }
  expect(await rawCall(session, `${LIST}?access_token=${jwt}`, {})).toMatchObject({ "grpc-status": "12" });
});

test("every method of ours asks for a credential, byte for byte alike", async () => {
  const methods = [
    ...["CreateToken", "GetToken", "ListTokens", "RenewToken", "RevokeToken", "ListTokenEvents"].map(
      (name) => `ApiTokenService/${name}`,
    ),
    "TokenVerificationService/VerifyToken",
  ];
  for (const method of methods) expect(await rawCall(session, `/apitoken.v1.${method}`, {})).toEqual(await refusal());
});

test("a credential of 20 KB is refused for the size of its metadata, good as it may be otherwise", async () => {
  const padded = await service.issuer.sign({ padding: "x".repeat(15_000) });
  expect(padded.length).toBeGreaterThan(20_000);
  await expect(service.tokens.listTokens({}, bearer(padded))).rejects.toMatchObject({
    code: "RESOURCE_EXHAUSTED",
    reason: "REQUEST_TOO_LARGE",
    message: "the message or the metadata is too large",
  });
});

test("where MAX_METADATA_BYTES allows more, a credential of 16 KB is checked and a longer one is UNAUTHENTICATED", async () => {
  const roomy = await startSecureService({ MAX_METADATA_BYTES: "65536" });
  const sign = (bytes: number) => roomy.issuer.sign({ padding: "x".repeat(bytes) });
  try {
    await roomy.tokens.listTokens({}, bearer(await sign(11_700)));
    await expect(roomy.tokens.listTokens({}, bearer(await sign(12_300)))).rejects.toMatchObject(UNAUTHENTICATED);
    await expect(roomy.tokens.listTokens({}, bearer(await sign(15_000)))).rejects.toMatchObject(UNAUTHENTICATED);
  } finally {
    await roomy.stop();
  }
});

test("why a credential was refused is in the log as fixed words, and no credential is", async () => {
  await eventually(() => {
    const causes = new Set(
      service
        .log()
        .filter(({ reason }) => reason === "UNAUTHENTICATED")
        .map(({ cause }) => cause),
    );
    for (const cause of [
      "there is no credential",
      "it is no bearer credential",
      "the API token is malformed",
      "it is no JWT",
      "x-user-id does not belong here",
      "ERR_JWT_EXPIRED",
    ])
      expect(causes).toContain(cause);
    for (const cause of causes) expect(cause).toMatch(/^(?:ERR_[A-Z_]+|[\w -]{1,60})$/);
  });
  const text = JSON.stringify(service.log());
  expect(text).not.toContain(jwt.slice(-40));
  expect(text).not.toContain(apiToken.slice(-40));
  expect(text).not.toContain(superseded.slice(-40));
});
