// Users with an access token, over real TLS: what they reach, and which roles they may give to a token.
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { TokenEventKind } from "../../gen/apitoken/v1/api_token.js";
import type { As } from "../harness.js";
import {
  NOT_FOUND,
  PERMISSION_DENIED,
  type SecureService,
  startSecureService,
  UNAUTHENTICATED,
} from "../secure-service.js";

let service: SecureService;
let alice: As;
let bob: As;
let admin: As;
let stranger: As;
beforeAll(async () => {
  service = await startSecureService();
  alice = await service.signIn();
  bob = await service.signIn({ sub: "bob" });
  admin = await service.signIn({ sub: "admin", roles: ["organization-administrator"] });
  stranger = await service.signIn({ organization_id: "initech", roles: ["organization-administrator"] });
});
afterAll(() => service.stop());

test("a token belongs to the user and the organization of the access token, and its event names the user", async () => {
  const { apiToken } = await service.tokens.createToken({ name: "mine" }, alice);
  expect(apiToken).toMatchObject({ organizationId: "acme", userId: "alice" });
  expect((await service.tokens.listTokenEvents({ name: "mine" }, alice)).events).toMatchObject([
    { kind: TokenEventKind.TOKEN_EVENT_KIND_CREATED, actor: "user:alice", userId: "alice", organizationId: "acme" },
  ]);
});

test("a user's tokens are NOT_FOUND for other users, and for administrators of other organizations", async () => {
  await service.tokens.createToken({ name: "hidden" }, alice);
  for (const [caller, userId] of [
    [bob, "alice"],
    [bob, ""],
    [stranger, "alice"],
  ] as const) {
    const target = { name: "hidden", userId };
    await expect(service.tokens.getToken(target, caller)).rejects.toMatchObject(NOT_FOUND);
    await expect(service.tokens.renewToken(target, caller)).rejects.toMatchObject(NOT_FOUND);
    await expect(service.tokens.revokeToken(target, caller)).rejects.toMatchObject(NOT_FOUND);
  }
  for (const userId of ["alice", "-"]) {
    await expect(service.tokens.listTokens({ userId }, bob)).rejects.toMatchObject(PERMISSION_DENIED);
    await expect(service.tokens.listTokenEvents({ userId }, bob)).rejects.toMatchObject(PERMISSION_DENIED);
  }
  expect((await service.tokens.listTokens({ userId: "-" }, stranger)).apiTokens).toEqual([]);
  expect((await service.tokens.getToken({ name: "hidden" }, alice)).apiToken?.generation).toBe(1n);
});

test("an administrator sees, renews and revokes the tokens of the organization, and is the actor of it", async () => {
  await service.tokens.createToken({ name: "managed" }, alice);
  const target = { name: "managed", userId: "alice" };
  expect((await service.tokens.getToken(target, admin)).apiToken?.userId).toBe("alice");
  await service.tokens.renewToken(target, admin);
  await service.tokens.revokeToken(target, admin);
  const { events } = await service.tokens.listTokenEvents({ name: "managed", userId: "-" }, admin);
  expect(events.map(({ actor, userId }) => [actor, userId])).toEqual([
    ["user:admin", "alice"],
    ["user:admin", "alice"],
    ["user:alice", "alice"],
  ]);
});

test("a role that the caller holds, or none, can be given to a token", async () => {
  const caller = await service.signIn({ roles: "developer ops" });
  for (const role of ["", "developer", "ops"]) {
    const { apiToken } = await service.tokens.createToken({ name: `role ${role}.`, role }, caller);
    expect(apiToken?.role).toBe(role);
  }
});

test("a role that the caller does not hold is PERMISSION_DENIED, for administrators too, and no token is made", async () => {
  const nobody = await service.signIn({ roles: undefined });
  for (const [caller, role] of [
    [alice, "ops"],
    [alice, "Developer"],
    [alice, "developers"],
    [alice, "organization-administrator"],
    [admin, "developer"],
    [nobody, "developer"],
    [nobody, "undefined"],
  ] as const) {
    await expect(service.tokens.createToken({ name: "above", role }, caller)).rejects.toMatchObject(PERMISSION_DENIED);
    await expect(service.tokens.getToken({ name: "above" }, caller)).rejects.toMatchObject(NOT_FOUND);
  }
});

test("a role of a name that objects have is a name like any other", async () => {
  for (const role of ["constructor", "__proto__", "has", "all"]) {
    await expect(service.tokens.createToken({ name: "above", role }, alice)).rejects.toMatchObject(PERMISSION_DENIED);
  }
});

test("only with the scope apitoken.verify may a user verify, administrators not by themselves", async () => {
  const { token } = await service.tokens.createToken({ name: "verified" }, alice);
  for (const caller of [alice, admin]) {
    await expect(service.verification.verifyToken({ token }, caller)).rejects.toMatchObject(PERMISSION_DENIED);
    await expect(service.verification.verifyToken({ token: "x" }, caller)).rejects.toMatchObject(PERMISSION_DENIED);
  }
  const verifier = await service.signIn({ sub: "gateway", organization_id: "initech", scope: "apitoken.verify" });
  expect(await service.verification.verifyToken({ token }, verifier)).toMatchObject({
    active: true,
    apiToken: { name: "verified", userId: "alice", organizationId: "acme" },
  });
  await expect(service.tokens.getToken({ name: "verified", userId: "alice" }, verifier)).rejects.toMatchObject(
    NOT_FOUND,
  );
});

test("tokens of rotated keys are UNAUTHENTICATED only after the keys were read anew", async () => {
  const before = service.issuer.requests("/jwks");
  await service.issuer.rotateKeys();
  // Within 30 s of the last request nobody asks the issuer again.
  await service.tokens.listTokens({}, alice);
  await expect(service.tokens.listTokens({}, await service.signIn())).rejects.toMatchObject(UNAUTHENTICATED);
  expect(service.issuer.requests("/jwks")).toBe(before);
});

test("while the issuer's keys are not known JWTs are UNAVAILABLE, and services with certificates go on", async () => {
  const away = await startSecureService({ JWT_JWKS_URL: `${service.issuer.issuer}/nothing-here` });
  try {
    await expect(away.tokens.listTokens({}, await away.signIn())).rejects.toMatchObject({
      code: "UNAVAILABLE",
      reason: "ISSUER_UNAVAILABLE",
      message: "the credential cannot be checked now: the keys of its issuer are not known",
      sqlState: "57015",
      detailTypes: ["ErrorInfo", "RetryInfo"],
    });
    await expect(away.tokens.listTokens({}, { authorization: "Bearer x" })).rejects.toMatchObject(UNAUTHENTICATED);
    const { verification } = await away.connectAs({ uris: ["spiffe://example.org/gateway"] });
    expect(await verification.verifyToken({ token: "x" })).toMatchObject({ active: false });
  } finally {
    await away.stop();
  }
});
