// The one refusal of every bearer credential, over real TLS, and what the log alone is told; test/bad-input/credential-rows.ts
// has the ways to be refused.
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { eventually } from "../harness.js";
import { bearer, rawCall, type SecureService, startSecureService, UNAUTHENTICATED } from "../secure-service.js";

const LIST = "/apitoken.v1.ApiTokenService/ListTokens";

let service: SecureService;
beforeAll(async () => {
  service = await startSecureService();
});
afterAll(() => service.stop());

test("a call without a credential is UNAUTHENTICATED with the one fixed text and details", async () => {
  await expect(service.tokens.listTokens({})).rejects.toMatchObject(UNAUTHENTICATED);
  expect(await rawCall(service.openSession(), LIST, {})).toEqual({
    ":status": 200,
    "content-type": "application/grpc+proto",
    "grpc-status": "16",
    "grpc-message": "a%20valid%20credential%20is%20required",
    "grpc-status-details-bin": expect.stringMatching(/^[A-Za-z0-9+/]+=*$/),
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

test("why a credential was refused is in the log as fixed words", async () => {
  const expired = await service.issuer.sign({}, { expiresInSeconds: -300 });
  const session = service.openSession();
  for (const headers of [
    {},
    { authorization: "Basic x" },
    { authorization: "Bearer apt_x" },
    { authorization: "Bearer x" },
    { authorization: `Bearer ${expired}` },
    { authorization: `Bearer ${expired}`, "x-user-id": "alice" },
  ]) {
    await rawCall(session, LIST, headers);
  }
  await eventually(() => {
    expect(service.log().slice(-6)).toMatchObject(
      [
        "there is no credential",
        "it is no bearer credential",
        "the API token is malformed",
        "it is no JWT",
        "ERR_JWT_EXPIRED",
        "x-user-id does not belong here",
      ].map((cause) => ({ reason: "UNAUTHENTICATED", cause })),
    );
  });
});
