// API tokens as credentials, over real TLS: how far each setting of TOKENS_MAY_MANAGE lets them reach.
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { TokenEventKind } from "../../gen/apitoken/v1/api_token.js";
import { formatToken, generateSecret } from "../../src/domain/token-string.js";
import { type As, eventually } from "../harness.js";
import {
  bearer,
  NOT_FOUND,
  PERMISSION_DENIED,
  type SecureService,
  startSecureService,
  UNAUTHENTICATED,
} from "../secure-service.js";

let self: SecureService;
let owner: SecureService;
let none: SecureService;
beforeAll(async () => {
  // "self" is the default.
  [self, owner, none] = await Promise.all([
    startSecureService(),
    startSecureService({ TOKENS_MAY_MANAGE: "owner" }),
    startSecureService({ TOKENS_MAY_MANAGE: "none" }),
  ]);
});
afterAll(() => Promise.all([self, owner, none].map((service) => service.stop())));

/** A new token of alice, with the role given. */
async function issue(service: SecureService, role = "") {
  const alice = await service.signIn();
  const name = `token ${crypto.randomUUID()}`;
  const { token, apiToken } = await service.tokens.createToken({ name, role }, alice);
  return { name, alice, token, as: bearer(token), uid: apiToken?.uid ?? "" };
}

test("by default a token gets, renews and revokes itself, and each renewal ends the secret that did it", async () => {
  const { name, as, uid } = await issue(self);
  const got = await self.tokens.getToken({ name }, as);
  expect(got.apiToken).toMatchObject({ uid, name, userId: "alice", organizationId: "acme", generation: 1n });
  expect((await self.tokens.getToken({ name, userId: "alice" }, as)).apiToken?.uid).toBe(uid);

  const renewed = await self.tokens.renewToken({ name }, as);
  expect(renewed.apiToken).toMatchObject({ uid, generation: 2n });
  await expect(self.tokens.getToken({ name }, as)).rejects.toMatchObject(UNAUTHENTICATED);
  await expect(self.tokens.renewToken({ name }, as)).rejects.toMatchObject(UNAUTHENTICATED);

  const next = bearer(renewed.token);
  expect((await self.tokens.revokeToken({ name }, next)).apiToken).toMatchObject({ uid, generation: 2n });
  await expect(self.tokens.revokeToken({ name }, next)).rejects.toMatchObject(UNAUTHENTICATED);
});

test("what a token does to itself is told of the token, not of its owner", async () => {
  const { name, alice, as, uid } = await issue(self);
  const renewed = await self.tokens.renewToken({ name }, as);
  await self.tokens.revokeToken({ name }, bearer(renewed.token));
  const { events } = await self.tokens.listTokenEvents({ uid }, alice);
  expect(events.map(({ kind, actor, userId }) => [kind, actor, userId])).toEqual([
    [TokenEventKind.TOKEN_EVENT_KIND_REVOKED, `token:${uid}`, "alice"],
    [TokenEventKind.TOKEN_EVENT_KIND_RENEWED, `token:${uid}`, "alice"],
    [TokenEventKind.TOKEN_EVENT_KIND_CREATED, "user:alice", "alice"],
  ]);
});

test("by default a token cannot create, list, see events or verify", async () => {
  const { name, as, token } = await issue(self);
  await expect(self.tokens.createToken({ name: "new" }, as)).rejects.toMatchObject(PERMISSION_DENIED);
  await expect(self.tokens.createToken({ name }, as)).rejects.toMatchObject(PERMISSION_DENIED);
  await expect(self.tokens.listTokens({}, as)).rejects.toMatchObject(PERMISSION_DENIED);
  await expect(self.tokens.listTokens({ userId: "-" }, as)).rejects.toMatchObject(PERMISSION_DENIED);
  await expect(self.tokens.listTokenEvents({ name }, as)).rejects.toMatchObject(PERMISSION_DENIED);
  await expect(self.verification.verifyToken({ token }, as)).rejects.toMatchObject(PERMISSION_DENIED);
});

/** Nothing of these tokens can be seen or changed: the answer is that of a token that does not exist. */
async function expectUnreachable(service: SecureService, as: As, targets: readonly { name: string; userId: string }[]) {
  for (const target of [...targets, { name: "never there", userId: "" }]) {
    await expect(service.tokens.getToken(target, as)).rejects.toMatchObject(NOT_FOUND);
    await expect(service.tokens.renewToken(target, as)).rejects.toMatchObject(NOT_FOUND);
    await expect(service.tokens.renewToken({ ...target, etag: "x" }, as)).rejects.toMatchObject(NOT_FOUND);
    await expect(service.tokens.revokeToken(target, as)).rejects.toMatchObject(NOT_FOUND);
  }
}

test("by default a token's siblings are NOT_FOUND as what does not exist, and stay as they are", async () => {
  const { name, as } = await issue(self);
  const sibling = await issue(self);
  const bob = await self.signIn({ sub: "bob" });
  await self.tokens.createToken({ name }, bob);
  await expectUnreachable(self, as, [
    { name: sibling.name, userId: "" },
    { name: sibling.name, userId: "alice" },
    { name, userId: "bob" },
  ]);
  expect((await self.tokens.getToken({ name: sibling.name }, sibling.as)).apiToken?.generation).toBe(1n);
  expect((await self.tokens.getToken({ name }, bob)).apiToken?.generation).toBe(1n);
});

test("with TOKENS_MAY_MANAGE=owner a token without a role manages its owner's, and nobody else's", async () => {
  const { name, as } = await issue(owner);
  const sibling = await issue(owner, "developer");
  const bob = await owner.signIn({ sub: "bob" });
  await owner.tokens.createToken({ name: "bob's" }, bob);

  const listed = (await owner.tokens.listTokens({}, as)).apiTokens.map((token) => token.name);
  expect(listed).toEqual(expect.arrayContaining([name, sibling.name]));
  expect(listed).not.toContain("bob's");
  expect((await owner.tokens.getToken({ name: sibling.name }, as)).apiToken?.uid).toBe(sibling.uid);
  await owner.tokens.renewToken({ name: sibling.name }, as);
  expect((await owner.tokens.listTokenEvents({ uid: sibling.uid }, as)).events).toHaveLength(2);
  await owner.tokens.revokeToken({ name: sibling.name }, as);
  await expect(owner.tokens.getToken({ name: sibling.name }, as)).rejects.toMatchObject(NOT_FOUND);

  await expectUnreachable(owner, as, [{ name: "bob's", userId: "bob" }]);
  for (const userId of ["bob", "-"]) {
    await expect(owner.tokens.listTokens({ userId }, as)).rejects.toMatchObject(PERMISSION_DENIED);
    await expect(owner.tokens.listTokenEvents({ userId }, as)).rejects.toMatchObject(PERMISSION_DENIED);
  }
  await expect(owner.tokens.createToken({ name: "new" }, as)).rejects.toMatchObject(PERMISSION_DENIED);
});

test("with TOKENS_MAY_MANAGE=owner a token with a role never reaches beyond itself", async () => {
  const { name, as, uid } = await issue(owner, "developer");
  const sibling = await issue(owner);
  expect((await owner.tokens.getToken({ name }, as)).apiToken?.uid).toBe(uid);
  await expectUnreachable(owner, as, [{ name: sibling.name, userId: "" }]);
  await expect(owner.tokens.listTokens({}, as)).rejects.toMatchObject(PERMISSION_DENIED);
  await expect(owner.tokens.listTokenEvents({ uid }, as)).rejects.toMatchObject(PERMISSION_DENIED);
  await expect(owner.tokens.createToken({ name: "new", role: "developer" }, as)).rejects.toMatchObject(
    PERMISSION_DENIED,
  );
  const next = bearer((await owner.tokens.renewToken({ name }, as)).token);
  await owner.tokens.revokeToken({ name }, next);
});

test("with TOKENS_MAY_MANAGE=owner a previous secret reaches only its own token", async () => {
  const { name, alice, as, uid } = await issue(owner);
  const sibling = await issue(owner);
  const renewed = await owner.tokens.renewToken({ name, gracePeriod: { seconds: 60n, nanos: 0 } }, alice);
  expect((await owner.tokens.getToken({ name }, as)).apiToken?.uid).toBe(uid);
  await expectUnreachable(owner, as, [{ name: sibling.name, userId: "" }]);
  await expect(owner.tokens.listTokens({}, as)).rejects.toMatchObject(PERMISSION_DENIED);
  await expect(owner.tokens.listTokenEvents({ uid }, as)).rejects.toMatchObject(PERMISSION_DENIED);
  await expect(owner.tokens.createToken({ name: "new" }, as)).rejects.toMatchObject(PERMISSION_DENIED);
  await owner.tokens.revokeToken({ name: sibling.name }, bearer(renewed.token));
});

test("a token of an administrator has nothing of the administrator's reach", async () => {
  const admin = await owner.signIn({ sub: "admin", roles: ["organization-administrator"] });
  const { token } = await owner.tokens.createToken({ name: "admin's" }, admin);
  const { name } = await issue(owner);
  expect((await owner.tokens.getToken({ name, userId: "alice" }, admin)).apiToken?.name).toBe(name);
  await expectUnreachable(owner, bearer(token), [{ name, userId: "alice" }]);
  await expect(owner.tokens.listTokens({ userId: "-" }, bearer(token))).rejects.toMatchObject(PERMISSION_DENIED);
});

test("with TOKENS_MAY_MANAGE=none a token may do nothing, not even to itself", async () => {
  const { name, as, token } = await issue(none);
  await expect(none.tokens.getToken({ name }, as)).rejects.toMatchObject(PERMISSION_DENIED);
  await expect(none.tokens.renewToken({ name }, as)).rejects.toMatchObject(PERMISSION_DENIED);
  await expect(none.tokens.revokeToken({ name }, as)).rejects.toMatchObject(PERMISSION_DENIED);
  await expect(none.tokens.createToken({ name: "new" }, as)).rejects.toMatchObject(PERMISSION_DENIED);
  await expect(none.tokens.listTokens({}, as)).rejects.toMatchObject(PERMISSION_DENIED);
  await expect(none.tokens.listTokenEvents({}, as)).rejects.toMatchObject(PERMISSION_DENIED);
  await expect(none.verification.verifyToken({ token }, as)).rejects.toMatchObject(PERMISSION_DENIED);
});

test("a token that has expired, was revoked, or has another secret is UNAUTHENTICATED", async () => {
  const revoked = await issue(self);
  await self.tokens.revokeToken({ name: revoked.name }, revoked.alice);
  await expect(self.tokens.getToken({ name: revoked.name }, revoked.as)).rejects.toMatchObject(UNAUTHENTICATED);

  const { name, uid, as } = await issue(self);
  const guessed = bearer(formatToken("apt", uid, generateSecret()));
  await expect(self.tokens.getToken({ name }, guessed)).rejects.toMatchObject(UNAUTHENTICATED);
  await self.tokens.getToken({ name }, as);

  const expiring = await issue(self);
  // The hour has come for every token of this server.
  const redis = self.redis.client;
  for (const key of await redis.keys("*:t:*")) await redis.pexpire(key, 1);
  await eventually(() =>
    expect(self.tokens.getToken({ name: expiring.name }, expiring.as)).rejects.toMatchObject(UNAUTHENTICATED),
  );
});

test("a superseded secret is UNAUTHENTICATED, and leaves an event of nobody", async () => {
  const { name, uid, alice, as } = await issue(self);
  await self.tokens.renewToken({ name }, alice);
  await expect(self.tokens.getToken({ name }, as)).rejects.toMatchObject(UNAUTHENTICATED);
  await expect(self.tokens.getToken({ name }, as)).rejects.toMatchObject(UNAUTHENTICATED);
  const events = await eventually(async () => {
    const listed = (await self.tokens.listTokenEvents({ uid }, alice)).events;
    expect(listed).toHaveLength(3);
    return listed;
  });
  expect(events[0]).toMatchObject({
    kind: TokenEventKind.TOKEN_EVENT_KIND_SUPERSEDED_USE,
    actor: "",
    userId: "alice",
    uid,
    name,
    generation: 2n,
  });
});

test("the previous secret works within its grace period, and not after it or after another renewal", async () => {
  const { name, alice, as } = await issue(self);
  await self.tokens.renewToken({ name, gracePeriod: { seconds: 60n, nanos: 0 } }, alice);
  expect((await self.tokens.getToken({ name }, as)).apiToken?.generation).toBe(2n);
  const { token } = await self.tokens.renewToken({ name, gracePeriod: { seconds: 0n, nanos: 500_000_000 } }, alice);
  await expect(self.tokens.getToken({ name }, as)).rejects.toMatchObject(UNAUTHENTICATED);
  await self.tokens.getToken({ name }, bearer(token));
  const last = await self.tokens.renewToken({ name, gracePeriod: { seconds: 0n, nanos: 500_000_000 } }, bearer(token));
  await self.tokens.getToken({ name }, bearer(token));
  await eventually(() => expect(self.tokens.getToken({ name }, bearer(token))).rejects.toMatchObject(UNAUTHENTICATED));
  await self.tokens.getToken({ name }, bearer(last.token));
});

test("a self-renewal with a grace period and a request_id can be retried with the old secret", async () => {
  const { name, as } = await issue(self);
  const request = { name, gracePeriod: { seconds: 60n, nanos: 0 }, requestId: crypto.randomUUID() };
  const first = await self.tokens.renewToken(request, as);
  const second = await self.tokens.renewToken(request, as);
  expect([second.token, second.replayed]).toEqual([first.token, true]);
});

test("whoever holds a previous secret can look, and take nothing over", async () => {
  const { name, alice, as } = await issue(self);
  const renewed = await self.tokens.renewToken({ name, gracePeriod: { seconds: 60n, nanos: 0 } }, alice);
  const { etag = "" } = (await self.tokens.getToken({ name }, as)).apiToken ?? {};
  const refused = {
    code: "ABORTED",
    reason: "ETAG_MISMATCH",
    message: "the token has changed since the etag was read",
  };
  for (const condition of ["", etag, etag.replace(/2$/, "1")]) {
    await expect(self.tokens.renewToken({ name, etag: condition }, as)).rejects.toMatchObject(refused);
    await expect(self.tokens.revokeToken({ name, etag: condition }, as)).rejects.toMatchObject(refused);
  }
  const { apiToken } = await self.tokens.getToken({ name }, bearer(renewed.token));
  expect([apiToken?.etag, apiToken?.generation]).toEqual([etag, 2n]);
  expect((await self.tokens.renewToken({ name, etag }, bearer(renewed.token))).apiToken?.generation).toBe(3n);
});

/** Of who was let in before the winner, and after it. */
const LOSSES = ["Error: the token has changed since the etag was read", "Error: a valid credential is required"];

test("of renewals that race with a token's own exactly one secret is alive at the end, and losers change nothing", async () => {
  for (let round = 0; round < 20; round += 1) {
    const { name, token, alice, as } = await issue(self);
    const callers = round % 2 === 0 ? [as, as, as] : [as, alice, as, alice];
    const results = await Promise.allSettled(callers.map((caller) => self.tokens.renewToken({ name }, caller)));
    const secrets = [token];
    for (const result of results) {
      if (result.status === "fulfilled") secrets.push(result.value.token);
      else expect(LOSSES).toContain(String(result.reason));
    }
    if (round % 2 === 0) expect(secrets).toHaveLength(2);
    const alive = await Promise.allSettled(secrets.map((secret) => self.tokens.getToken({ name }, bearer(secret))));
    expect(alive.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect((await self.tokens.getToken({ name }, alice)).apiToken?.generation).toBe(BigInt(secrets.length));
  }
});
