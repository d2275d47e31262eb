// Credentials that must not let anybody in: JWTs, API tokens, headers, and what nobody may reach with a good one.
import { ApiTokenServiceService } from "../../gen/apitoken/v1/api_token_service.js";
import { formatToken, generateSecret, generateUid } from "../../src/domain/token-string.js";
import { HOSTILE_TOKENS, type Issuer } from "../issuer.js";
import { NOT_FOUND, PERMISSION_DENIED, UNAUTHENTICATED } from "../secure-service.js";
import { exchange, METHODS, type Method, type Outcome, responseField, rpc, type Target } from "./grpc.js";
import type { Header } from "./hpack.js";
import { CANARY, CLOSED, OK, type Row, TOO_LARGE } from "./row.js";

/** What the rows are about: known only when the server runs. */
export interface Credentials {
  readonly issuer: Issuer;
  /** Remembers a credential that a row presents, so that the runner looks for it. */
  present(credential: string): string;
}

/** The one answer to every fault of a credential, to the last byte of its details: a google.rpc.Status with an ErrorInfo. */
const REFUSED = {
  ...UNAUTHENTICATED,
  details: Buffer.from(
    "\x08\x10\x12\x1ea valid credential is required" +
      "\x1a^\x0a(type.googleapis.com/google.rpc.ErrorInfo" +
      "\x122\x0a\x0fUNAUTHENTICATED\x12\x0bapitoken.v1\x1a\x12\x0a\x09sql_state\x12\x0542501",
    "latin1",
  ),
};

const bearer = (credential: string): Header => ["authorization", `Bearer ${credential}`];
const authorization = (of: (credential: string) => string) => (credential: string) =>
  [["authorization", of(credential)]] as const;

/** New, of alice, in the place of an older one. */
async function issue(target: Target, jwt: Header, name: string): Promise<string> {
  await rpc(target, "revokeToken", { name }, [jwt]);
  return responseField(await rpc(target, "createToken", { name }, [jwt]), "token");
}

/** What is sent in the place of a good credential. */
type Headers = (credential: string) => readonly Header[] | Promise<readonly Header[]>;

export function bearerRows(get: () => Credentials): Row[] {
  /** GetToken of a token of alice, by her or by the token itself. `end`: what happens to the token before. */
  const row = (
    kind: "a JWT" | "an API token",
    name: string,
    of: Headers,
    expected: Row["expected"] = REFUSED,
    end: (target: Target, jwt: Header) => Promise<unknown> = async () => {},
  ): Row => ({
    name: `${kind}: ${name}`,
    act: async (target) => {
      const jwt = await get().issuer.sign();
      const token = await issue(target, bearer(jwt), "credential");
      await end(target, bearer(jwt));
      const headers = await of(get().present(kind === "a JWT" ? jwt : token));
      return rpc(target, "getToken", { name: "credential" }, headers);
    },
    expected,
  });
  const both = (name: string, of: Headers, expected?: Row["expected"]) => [
    row("a JWT", name, of, expected),
    row("an API token", name, of, expected),
  ];
  const token = (name: string, of: (token: string) => string) =>
    row("an API token", name, (credential) => [bearer(get().present(of(credential)))]);
  const nothing = (name: string, ...extra: readonly Header[]): Row => ({
    name,
    act: (target) => exchange(target, { extra }),
    expected: REFUSED,
  });
  return [
    ...["Bearer", "bearer", "BEARER", "bEaReR"].flatMap((scheme) =>
      both(
        `with the scheme ${scheme}`,
        authorization((credential) => `${scheme} ${credential}`),
        OK,
      ),
    ),
    ...both(
      "beside a header that speaks of authorization",
      (credential) => [bearer(credential), ["access-control-request-headers", "authorization"]],
      OK,
    ),
    // What is larger than all metadata may be is refused before it is looked at.
    row("a JWT", "of 20 KB", async () => [bearer(await get().issuer.sign({ padding: "x".repeat(15_000) }))], TOO_LARGE),
    row("a JWT", "of 64 KB", async () => [bearer(await get().issuer.sign({ padding: "x".repeat(48 * 1024) }))], CLOSED),
    ...Object.entries(BAD_HEADERS).flatMap(([name, of]) => both(name, authorization(of))),
    ...both("two authorization headers", (credential) => [bearer(credential), bearer(credential)]),
    ...both("before a bad one", (credential) => [bearer(credential), bearer(CANARY)]),
    ...both("behind a bad one", (credential) => [bearer(CANARY), bearer(credential)]),
    ...["x-organization-id", "x-user-id", "x-organization-admin"].flatMap((key) => [
      ...["acme", "alice", "true", "false", ""].flatMap((value) =>
        both(`beside ${key} "${value}"`, (credential) => [bearer(credential), [key, value]]),
      ),
      ...both(`beside ${key} twice`, (credential) => [bearer(credential), [key, "alice"], [key, "alice"]]),
      nothing(`${key} alone`, [key, "true"]),
    ]),
    nothing("the identity of development mode", ["x-organization-id", "acme"], ["x-user-id", "alice"]),
    ...["proxy-authorization", "x-authorization", "cookie", "authorization-bin", "access_token"].flatMap((key) =>
      both(`as ${key}`, (credential) => [[key, `Bearer ${credential}`]]),
    ),
    ...(Object.keys(METHODS) as Method[]).map((method) => ({
      name: `${method} without a credential`,
      act: (target: Target) => rpc(target, method, {}),
      expected: REFUSED,
    })),
    nothing("12 KB of nothing", bearer("a".repeat(12_000))),
    nothing("the beginning of an API token", bearer("apt_")),
    token("with a wrong checksum", (text) => text.slice(0, -1) + (text.endsWith("x") ? "y" : "x")),
    token("with another secret", (text) => formatToken("apt", text.slice(5, 33), generateSecret())),
    token("that never was", () => formatToken("apt", generateUid("acme"), generateSecret())),
    token("of another prefix", (text) => formatToken("xyz", text.slice(5, 33), text.slice(33, 76))),
    token("in upper case", (text) => text.toUpperCase()),
    token("cut in half", (text) => text.slice(0, 40)),
    token("twice", (text) => text + text),
    ...(["revokeToken", "renewToken"] as const).map((end) =>
      row(
        "an API token",
        `after ${end}`,
        (credential) => [bearer(credential)],
        REFUSED,
        (target, jwt) => rpc(target, end, { name: "credential" }, [jwt]),
      ),
    ),
  ];
}

export function hostileRows(get: () => Credentials): Row[] {
  const hostile = Object.entries(HOSTILE_TOKENS).filter(([name]) => name !== "64 KB");
  return hostile.map(([name, forge]) => ({
    name,
    act: async (target) => exchange(target, { extra: [bearer(get().present(await forge(get().issuer)))] }),
    expected: REFUSED,
  }));
}

/** Values of `authorization` made of a good credential. */
const BAD_HEADERS: Readonly<Record<string, (credential: string) => string>> = {
  "with nothing of it": () => "",
  "with the scheme alone": () => "Bearer",
  "with the scheme and a space": () => "Bearer ",
  "without scheme": (credential) => credential,
  "behind two spaces": (credential) => `Bearer  ${credential}`,
  "behind a tab": (credential) => `Bearer\t${credential}`,
  "with a space within": (credential) => `Bearer ${credential.slice(0, 10)} ${credential.slice(10)}`,
  "and once more": (credential) => `Bearer ${credential} ${credential}`,
  "and once more behind a comma": (credential) => `Bearer ${credential},Bearer ${credential}`,
  "in quotes": (credential) => `Bearer "${credential}"`,
  "before a comma": (credential) => `Bearer ${credential},`,
  "as a parameter": (credential) => `Bearer token=${credential}`,
  "as a password": (credential) => `Basic ${Buffer.from(`alice:${credential}`).toString("base64")}`,
  "with the scheme Basic": (credential) => `Basic ${credential}`,
  "with the scheme DPoP": (credential) => `DPoP ${credential}`,
  "with a longer scheme": (credential) => `Bearers ${credential}`,
  "with a colon after the scheme": (credential) => `Bearer: ${credential}`,
  "before a byte above 127": (credential) => `Bearer ${credential}\xff${CANARY}`,
  "behind a byte above 127": (credential) => `\xe9Bearer ${credential}`,
  "before a NUL": (credential) => `Bearer ${credential}\0${CANARY}`,
  "before a line break": (credential) => `Bearer ${credential}\n${CANARY}`,
  "with a character more": (credential) => `Bearer ${credential}x`,
  "with a character less": (credential) => `Bearer ${credential.slice(0, -1)}`,
  "with 10 KB more": (credential) => `Bearer ${credential}${"x".repeat(10_000)}`,
};

/** Mallory of the same organization, mallory of another one, and a token of alice reach nothing of alice. */
export function authorizationRows(get: () => Credentials): Row[] {
  const methods = ["getToken", "renewToken", "revokeToken"] as const;
  const lists = ["listTokens", "listTokenEvents"] as const;
  const strangers: readonly (readonly [who: string, claims: object])[] = [
    ["another user of the organization", { sub: "mallory" }],
    ["a user of that name in another organization", { organization_id: "other" }],
    ["an administrator of another organization", { organization_id: "other", roles: ["organization-administrator"] }],
    [
      "a user with a role that looks like an administrator's",
      { sub: "mallory", roles: ["Organization-Administrator"] },
    ],
  ];
  /** Alice has a token `hers`; the caller is somebody else. */
  const as = async (target: Target, claims: object, call: (jwt: Header) => Promise<Outcome>) => {
    const alice = bearer(await get().issuer.sign());
    await rpc(target, "createToken", { name: "hers" }, [alice]);
    return call(bearer(get().present(await get().issuer.sign({ ...claims }))));
  };
  const row = (
    name: string,
    claims: object,
    expected: Row["expected"],
    call: (t: Target, jwt: Header) => Promise<Outcome>,
  ) => ({
    name,
    act: (target: Target) => as(target, claims, (jwt) => call(target, jwt)),
    expected,
  });
  return [
    ...strangers.flatMap(([who, claims]) => [
      ...methods.map((method) =>
        row(`${method} by ${who}`, claims, NOT_FOUND, (target, jwt) =>
          rpc(target, method, { name: "hers", userId: "alice" }, [jwt]),
        ),
      ),
      ...lists.map((method) => {
        const isAdministrator = who.startsWith("an administrator");
        // An administrator of the other organization sees that nobody of this name has any there.
        const empty = method === "listTokens" ? { apiTokens: [] } : { events: [] };
        const expected = isAdministrator
          ? { code: "OK", response: empty }
          : who.includes("of that name")
            ? { code: "OK", response: empty }
            : PERMISSION_DENIED;
        return row(`${method} by ${who}`, claims, expected, (target, jwt) =>
          rpc(target, method, { userId: "alice" }, [jwt]),
        );
      }),
      row(`verifyToken by ${who}`, claims, PERMISSION_DENIED, (target, jwt) =>
        rpc(target, "verifyToken", { token: "x" }, [jwt]),
      ),
    ]),
    row("every user's tokens by a user", {}, PERMISSION_DENIED, (target, jwt) =>
      rpc(target, "listTokens", { userId: "-" }, [jwt]),
    ),
    row("every user's events by a user", {}, PERMISSION_DENIED, (target, jwt) =>
      rpc(target, "listTokenEvents", { userId: "-" }, [jwt]),
    ),
    row("a role that the user does not hold", {}, PERMISSION_DENIED, (target, jwt) =>
      rpc(target, "createToken", { name: "above", role: "owner" }, [jwt]),
    ),
    ...(["createToken", "listTokens", "listTokenEvents", "verifyToken"] as const).map((method) =>
      row(`${method} by an API token`, {}, PERMISSION_DENIED, (target, jwt) =>
        asToken(target, jwt, (own) => rpc(target, method, { name: "new" }, [own])),
      ),
    ),
    ...methods.map((method) =>
      row(`${method} of a sibling by an API token`, {}, NOT_FOUND, (target, jwt) =>
        asToken(target, jwt, (own) => rpc(target, method, { name: "hers" }, [own])),
      ),
    ),
  ];

  async function asToken(target: Target, jwt: Header, call: (own: Header) => Promise<Outcome>): Promise<Outcome> {
    return call(bearer(get().present(await issue(target, jwt, "caller"))));
  }
}

/** All RPCs of owners, and a user, as a service that is only granted to verify. */
export function verifierRows(): Row[] {
  const names = Object.keys(ApiTokenServiceService) as (keyof typeof ApiTokenServiceService)[];
  return [
    ...names.map((method) => ({
      name: `${method} by a service that may only verify`,
      act: (target: Target) => rpc(target, method, method.startsWith("list") ? {} : { name: "hers" }),
      expected: PERMISSION_DENIED,
    })),
    {
      name: "a user of a service, without the grant for that",
      act: (target) => exchange(target, { extra: userHeaders("acme", "alice") }),
      expected: PERMISSION_DENIED,
    },
  ];
}

const userHeaders = (organization: string, user: string): Header[] => [
  ["x-organization-id", organization],
  ["x-user-id", user],
];

/** Metadata that is not the one user of a service with every grant. */
export function serviceRows(get: () => Credentials): Row[] {
  const alice = userHeaders("acme", "alice");
  const row = (name: string, of: (jwt: string) => readonly Header[], expected: Row["expected"] = REFUSED): Row[] =>
    (["listTokens", "verifyToken"] as const).map((method) => ({
      name: `${name} (${method})`,
      act: async (target) => rpc(target, method, {}, of(get().present(await get().issuer.sign()))),
      expected,
    }));
  const bad = (name: string, ...headers: readonly Header[]) => [
    ...row(name, () => headers),
    ...row(`${name}, beside a user`, () => [...alice, ...headers]),
  ];
  return [
    ...row("one user, to see that the rows below could pass", () => alice, OK),
    ...row("an organization without a user", () => alice.slice(0, 1)),
    ...row("a user without an organization", () => alice.slice(1)),
    ...row("the same user twice", () => [...alice, ["x-user-id", "alice"]]),
    ...row("two users", () => [...alice, ["x-user-id", "bob"]]),
    ...row("an organization twice", () => [...alice, ["x-organization-id", "acme"]]),
    ...[
      ["acme", ""],
      ["", "alice"],
      ["acme", "-"],
      ["-", "alice"],
      ["acme", "al ice"],
      ["acme", "a, b"],
      ["acme", "a".repeat(256)],
      ["a".repeat(256), "alice"],
      ["acme", "al\xefce"],
      ["acm\xe9", "alice"],
      ["acm\xe9", "al\xefce"],
    ].flatMap(([organization = "", user = ""]) =>
      row(`user "${user.slice(0, 9)}" of "${organization.slice(0, 9)}"`, () => userHeaders(organization, user)),
    ),
    ...bad("an administrator", ["x-organization-admin", "true"]),
    ...bad("no administrator", ["x-organization-admin", "false"]),
    ...bad("an empty credential", ["authorization", ""]),
    ...bad("a password", ["authorization", "Basic x"]),
    ...row("a good JWT", (jwt) => [bearer(jwt)]),
    ...row("a good JWT, beside a user", (jwt) => [...alice, bearer(jwt)]),
  ];
}
