// The rules, all of them: each RPC by each kind of caller on its own tokens, on those of its organization and on those of
// another one. A new RPC without a row does not compile.
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import {
  type CallerKind,
  type Grant,
  type Principal,
  servicePrincipal,
  type TokenReach,
  tokenPrincipal,
  userPrincipal,
} from "../../src/domain/access.js";
import { organizationTag } from "../../src/domain/token-string.js";
import type { RpcName } from "../../src/grpc/admission.js";
import { RedisTokenStore } from "../../src/redis/redis-token-store.js";
import { RpcError, type Service, startService } from "../harness.js";

/** Every kind of caller that the rules tell apart, and who is one. */
const CALLERS = {
  user: ["user", "user with verify"],
  administrator: ["administrator", "administrator with verify"],
  service: ["service", "service with verify"],
  delegate: ["delegate", "delegate with verify"],
  selfToken: ["token: self", "token with a role: owner", "previous secret: owner"],
  ownerToken: ["token: owner"],
  idleToken: ["token: none"],
} as const satisfies Readonly<Record<CallerKind, readonly string[]>>;
type Caller = (typeof CALLERS)[CallerKind][number];

type Outcome = "OK" | "NOT_FOUND" | "PERMISSION_DENIED" | "ABORTED" | "-";
/** On the token that was presented, on others of the same user, of another user of the organization, of another organization. */
type Row = readonly [itself: Outcome, own: Outcome, sameOrganization: Outcome, otherOrganization: Outcome];

const NOBODY: Row = ["-", "PERMISSION_DENIED", "PERMISSION_DENIED", "PERMISSION_DENIED"];
const NOTHING: Row = ["PERMISSION_DENIED", "PERMISSION_DENIED", "PERMISSION_DENIED", "PERMISSION_DENIED"];
const EVERYTHING: Row = ["OK", "OK", "OK", "OK"];
const OWN_CREATION: Row = ["-", "OK", "-", "-"];
const NO_CREATION: Row = ["-", "PERMISSION_DENIED", "-", "-"];

/** RPCs on one token, by its name. */
const BY_NAME: Readonly<Record<Caller, Row>> = {
  user: ["-", "OK", "NOT_FOUND", "NOT_FOUND"],
  "user with verify": ["-", "OK", "NOT_FOUND", "NOT_FOUND"],
  administrator: ["-", "OK", "OK", "NOT_FOUND"],
  "administrator with verify": ["-", "OK", "OK", "NOT_FOUND"],
  service: NOBODY,
  "service with verify": NOBODY,
  delegate: ["-", "OK", "NOT_FOUND", "NOT_FOUND"],
  "delegate with verify": ["-", "OK", "NOT_FOUND", "NOT_FOUND"],
  "token: self": ["OK", "NOT_FOUND", "NOT_FOUND", "NOT_FOUND"],
  "token: owner": ["OK", "OK", "NOT_FOUND", "NOT_FOUND"],
  "token with a role: owner": ["OK", "NOT_FOUND", "NOT_FOUND", "NOT_FOUND"],
  "previous secret: owner": ["OK", "NOT_FOUND", "NOT_FOUND", "NOT_FOUND"],
  "token: none": NOTHING,
};

/** A previous secret changes nothing, not even itself. */
const CHANGES: typeof BY_NAME = {
  ...BY_NAME,
  "previous secret: owner": ["ABORTED", "NOT_FOUND", "NOT_FOUND", "NOT_FOUND"],
};

/** Lists; an administrator sees an empty one of a user whom only another organization has. */
const LISTS: Readonly<Record<Caller, Row>> = {
  user: ["-", "OK", "PERMISSION_DENIED", "PERMISSION_DENIED"],
  "user with verify": ["-", "OK", "PERMISSION_DENIED", "PERMISSION_DENIED"],
  administrator: ["-", "OK", "OK", "OK"],
  "administrator with verify": ["-", "OK", "OK", "OK"],
  service: NOBODY,
  "service with verify": NOBODY,
  delegate: ["-", "OK", "PERMISSION_DENIED", "PERMISSION_DENIED"],
  "delegate with verify": ["-", "OK", "PERMISSION_DENIED", "PERMISSION_DENIED"],
  "token: self": ["-", "PERMISSION_DENIED", "PERMISSION_DENIED", "PERMISSION_DENIED"],
  "token: owner": ["-", "OK", "PERMISSION_DENIED", "PERMISSION_DENIED"],
  "token with a role: owner": ["-", "PERMISSION_DENIED", "PERMISSION_DENIED", "PERMISSION_DENIED"],
  "previous secret: owner": ["-", "PERMISSION_DENIED", "PERMISSION_DENIED", "PERMISSION_DENIED"],
  "token: none": ["-", "PERMISSION_DENIED", "PERMISSION_DENIED", "PERMISSION_DENIED"],
};

const VERIFICATION: Readonly<Record<Caller, Row>> = {
  user: NOTHING,
  "user with verify": EVERYTHING,
  administrator: NOTHING,
  "administrator with verify": EVERYTHING,
  service: NOTHING,
  "service with verify": EVERYTHING,
  delegate: NOTHING,
  "delegate with verify": EVERYTHING,
  "token: self": NOTHING,
  "token with a role: owner": NOTHING,
  "previous secret: owner": NOTHING,
  "token: owner": NOTHING,
  "token: none": NOTHING,
};

const MATRIX: Readonly<Record<RpcName, Readonly<Record<Caller, Row>>>> = {
  CreateToken: {
    user: OWN_CREATION,
    "user with verify": OWN_CREATION,
    administrator: OWN_CREATION,
    "administrator with verify": OWN_CREATION,
    service: NO_CREATION,
    "service with verify": NO_CREATION,
    delegate: OWN_CREATION,
    "delegate with verify": OWN_CREATION,
    "token: self": NO_CREATION,
    "token with a role: owner": NO_CREATION,
    "previous secret: owner": NO_CREATION,
    "token: owner": NO_CREATION,
    "token: none": NO_CREATION,
  },
  GetToken: BY_NAME,
  RenewToken: CHANGES,
  RevokeToken: CHANGES,
  ListTokens: LISTS,
  ListTokenEvents: LISTS,
  VerifyTokens: VERIFICATION,
  VerifyToken: VERIFICATION,
};

const ALICE = { organizationId: "acme", userId: "alice" };
/** One token of each relation. */
const TARGETS = [
  { ...ALICE, name: "itself" },
  { ...ALICE, name: "sibling" },
  { organizationId: "acme", userId: "bob", name: "bobs" },
  { organizationId: "other", userId: "zoe", name: "zoes" },
] as const;

let service: Service;
let caller: Principal;
let store: RedisTokenStore;
beforeAll(async () => {
  service = await startService({ CALL_RATES: "CreateToken=10000" }, async () => caller);
  store = new RedisTokenStore(service.redis.connection, { lastUsedResolutionMs: 60_000, eventRetentionMs: 86_400_000 });
});
afterAll(() => service.stop());

const asUser = (owner: { organizationId: string; userId: string }) =>
  userPrincipal(owner, { isAdministrator: false, roles: "all" });

/** Fresh tokens, and what their creations answered. */
async function createTargets(role: string) {
  await service.redis.client.flushall();
  const tokens: string[] = [];
  for (const { name, ...owner } of TARGETS) {
    caller = asUser(owner);
    tokens.push((await service.tokens.createToken({ name, role: name === "itself" ? role : "" })).token);
  }
  return tokens;
}

async function principalOf(name: Caller): Promise<Principal> {
  const uri = "spiffe://example.org/service";
  const mayVerify = name.endsWith("with verify");
  const grants = new Set<Grant>(mayVerify ? ["act-for-users", "verify"] : ["act-for-users"]);
  const facts = { roles: "all" as const, ...(mayVerify ? { grants } : {}) };
  const token = async (reach: TokenReach, secret: "current" | "previous" = "current") => {
    const itself = await store.get(ALICE, "itself");
    if (itself === undefined) throw new Error("there is no token to present");
    return tokenPrincipal(itself, secret, reach);
  };
  switch (name) {
    case "user":
    case "user with verify":
      return userPrincipal(ALICE, { isAdministrator: false, ...facts });
    case "administrator":
    case "administrator with verify":
      return userPrincipal(ALICE, { isAdministrator: true, ...facts });
    case "service":
    case "service with verify":
      return servicePrincipal(uri, grants, undefined);
    case "delegate":
    case "delegate with verify":
      return servicePrincipal(uri, grants, ALICE);
    case "token: self":
      return token("self");
    case "token: owner":
    case "token with a role: owner":
      return token("owner");
    case "previous secret: owner":
      return token("owner", "previous");
    case "token: none":
      return token("none");
  }
}

/** Calls the RPC about the target with that number; a user of its own the caller does not name. */
function call(rpc: RpcName, at: number, tokens: readonly string[], name: string): Promise<unknown> {
  const userId = at < 2 ? "" : (TARGETS[at]?.userId ?? "");
  switch (rpc) {
    case "CreateToken":
      return service.tokens.createToken({ name: "new" });
    case "GetToken":
      return service.tokens.getToken({ name, userId });
    case "RenewToken":
      return service.tokens.renewToken({ name, userId });
    case "RevokeToken":
      return service.tokens.revokeToken({ name, userId });
    case "ListTokens":
      return listBothWays({ userId });
    case "ListTokenEvents":
      return service.tokens.listTokenEvents({ userId });
    case "VerifyToken":
      return service.verification.verifyToken({ token: tokens[at] ?? "" });
    case "VerifyTokens":
      return service.verification.verifyTokens({ tokens: [tokens[at] ?? ""] });
  }
}

/** With `expire_before` and without the rules are the same; what is seen with it lies within what is seen without. */
async function listBothWays(request: { userId: string }): Promise<void> {
  const expireBefore = { seconds: BigInt(Math.floor(Date.now() / 1000) + 100 * 86_400), nanos: 0 };
  const [all, expiring] = await Promise.allSettled([
    service.tokens.listTokens(request),
    service.tokens.listTokens({ ...request, expireBefore }),
  ]);
  expect(expiring).toEqual(all);
  if (all.status === "rejected") throw all.reason;
}

async function contents(): Promise<string> {
  const redis = service.redis.client;
  const keys = (await redis.keys("*")).filter((key) => /:(?:t:.*|index|events)$/.test(key)).sort();
  return JSON.stringify(await Promise.all(keys.map((key) => redis.dumpBuffer(key))));
}

const rows = Object.entries(MATRIX).flatMap(([rpc, callers]) =>
  Object.entries(callers).map(([name, row]) => ({ rpc: rpc as RpcName, name: name as Caller, row })),
);

test.each(rows)("$rpc by a $name: $row", async ({ rpc, name, row }) => {
  for (const [at, expected] of row.entries()) {
    if (expected === "-") continue;
    const tokens = await createTargets(name === "token with a role: owner" ? "reader" : "");
    caller = await principalOf(name);
    expect(CALLERS[caller.kind]).toContain(name);
    const before = await contents();
    const error = await call(rpc, at, tokens, TARGETS[at]?.name ?? "").then(
      () => undefined,
      (refusal: unknown) => refusal,
    );
    expect([at, error instanceof RpcError ? error.code : "OK"]).toEqual([at, expected]);
    if (expected === "OK") continue;
    expect(await contents()).toBe(before);
    // What may not be seen looks like what is not there.
    if (expected !== "NOT_FOUND") continue;
    const { message, code, reason, sqlState, violations, detailTypes } = error as RpcError;
    const same = { message, code, reason, sqlState, violations, detailTypes };
    await expect(call(rpc, at, tokens, "no-such-token")).rejects.toMatchObject(same);
  }
});

test("what an administrator or a verifier is shown of another organization is nothing, or the token that it presented", async () => {
  const tokens = await createTargets("");
  caller = await principalOf("administrator");
  expect(await service.tokens.listTokens({ userId: "zoe" })).toMatchObject({ apiTokens: [] });
  expect((await service.tokens.listTokens({ userId: "-" })).apiTokens.map(({ name }) => name)).toEqual([
    "itself",
    "sibling",
    "bobs",
  ]);
  const { events } = await service.tokens.listTokenEvents({ userId: "-" });
  expect(events.map(({ name }) => name)).toEqual(["bobs", "sibling", "itself"]);
  caller = await principalOf("service with verify");
  expect((await service.verification.verifyToken({ token: tokens[3] ?? "" })).apiToken?.organizationId).toBe("other");
});

test("organizations of one tag, which nobody can make by chance, do not see each other", async () => {
  await createTargets("");
  // As if another organization's id had the same digest: its events would be in the same stream.
  const key = `apitoken:{${organizationTag("acme")}}:events`;
  const fields = [
    "k",
    "created",
    "o",
    "twin",
    "u",
    "alice",
    "n",
    "x",
    "i",
    "abcdefghijkl",
    "g",
    "1",
    "a",
    "user:alice",
  ];
  await service.redis.client.xadd(key, "*", ...fields);
  caller = await principalOf("administrator");
  const { events } = await service.tokens.listTokenEvents({ userId: "-" });
  expect(events.map(({ organizationId }) => organizationId)).toEqual(["acme", "acme", "acme"]);
});

test("a token that has passed its name on does not reach the new bearer of the name", async () => {
  await createTargets("");
  caller = await principalOf("token: self");
  const old = caller;
  caller = asUser(ALICE);
  await service.tokens.revokeToken({ name: "itself" });
  await service.tokens.createToken({ name: "itself" });
  caller = old;
  await expect(service.tokens.getToken({ name: "itself" })).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(service.tokens.renewToken({ name: "itself" })).rejects.toMatchObject({ code: "ABORTED" });
  await expect(service.tokens.revokeToken({ name: "itself" })).rejects.toMatchObject({ code: "ABORTED" });
});

test("nobody mints above themselves", async () => {
  await createTargets("");
  const holds = (...roles: string[]) => userPrincipal(ALICE, { isAdministrator: false, roles: new Set(roles) });
  caller = holds("reader", "writer");
  expect((await service.tokens.createToken({ name: "a", role: "writer" })).apiToken?.role).toBe("writer");
  expect((await service.tokens.createToken({ name: "b" })).apiToken?.role).toBe("");
  await expect(service.tokens.createToken({ name: "c", role: "owner" })).rejects.toMatchObject({
    code: "PERMISSION_DENIED",
    reason: "INSUFFICIENT_PRIVILEGE",
    message: "the caller may not do this",
  });
  expect(() => servicePrincipal("spiffe://a", new Set<Grant>(["verify"]), ALICE)).toThrow("the caller may not do this");
});
