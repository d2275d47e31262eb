// Credentials that must not let anybody in: JWTs, API tokens, headers and certificates, and what nobody may reach with a
// good one.
import { ApiTokenServiceService } from "../../gen/apitoken/v1/api_token_service.js";
import { formatToken, generateSecret, generateUid } from "../../src/domain/token-string.js";
import { HOSTILE_TOKENS, type Issuer } from "../issuer.js";
import { exchange, type Outcome, responseField, rpc, type Target } from "./grpc.js";
import type { Header } from "./hpack.js";
import { CANARY, CLOSED, OK, type Row, TOO_LARGE } from "./row.js";

/** What the rows are about: known only when the server runs. */
export interface Credentials {
  readonly issuer: Issuer;
  /** Remembers a credential that a row presents, so that the runner looks for it. */
  present(credential: string): string;
}

export const UNAUTHENTICATED = {
  code: "UNAUTHENTICATED",
  reason: "UNAUTHENTICATED",
  message: "a valid credential is required",
};
const DENIED = { code: "PERMISSION_DENIED", reason: "INSUFFICIENT_PRIVILEGE", message: "the caller may not do this" };
const NOT_FOUND = { code: "NOT_FOUND", reason: "TOKEN_NOT_FOUND", message: "the token does not exist or has expired" };

const bearer = (credential: string): Header => ["authorization", `Bearer ${credential}`];

export function bearerRows(get: () => Credentials): Row[] {
  /** A call with these headers beside those that every call has. */
  const headers = (
    name: string,
    of: (jwt: string) => readonly Header[],
    expected: Row["expected"] = UNAUTHENTICATED,
  ) => ({
    name,
    act: async (target: Target) => {
      const jwt = get().present(await get().issuer.sign());
      return exchange(target, { extra: of(jwt) });
    },
    expected,
  });
  const apiToken = (name: string, of: (token: string) => string): Row => ({
    name,
    act: async (target) => {
      const jwt = bearer(await get().issuer.sign());
      await rpc(target, "revokeToken", { name: "credential" }, [jwt]);
      const token = responseField<string>(await rpc(target, "createToken", { name: "credential" }, [jwt]), "token");
      return rpc(target, "getToken", { name: "credential" }, [bearer(get().present(of(token)))]);
    },
    expected: UNAUTHENTICATED,
  });
  return [
    headers("a good JWT, to see that the rows below could pass", (jwt) => [bearer(jwt)], OK),
    ...Object.entries(HOSTILE_TOKENS).map(([name, forge]) => ({
      name: `a JWT with ${name}`,
      act: async (target: Target) => {
        const jwt = get().present(await forge(get().issuer));
        return exchange(target, { extra: [bearer(jwt)] });
      },
      // What is larger than all metadata may be is refused before it is looked at, or by HTTP/2.
      expected: name === "64 KB" ? [TOO_LARGE, { closed: "stream" as const }, CLOSED] : UNAUTHENTICATED,
    })),
    headers("no authorization", () => []),
    headers("an empty authorization", () => [["authorization", ""]]),
    headers("the scheme alone", () => [["authorization", "Bearer"]]),
    headers("the scheme and a space", () => [["authorization", "Bearer "]]),
    headers("a JWT without scheme", (jwt) => [["authorization", jwt]]),
    headers("another scheme", (jwt) => [["authorization", `Basic ${jwt}`]]),
    headers("a scheme in upper case", (jwt) => [["authorization", `BEARER ${jwt}`]], OK),
    headers("two spaces", (jwt) => [["authorization", `Bearer  ${jwt}`]]),
    headers("two credentials in one header", (jwt) => [["authorization", `Bearer ${jwt}, Bearer ${jwt}`]]),
    headers("two authorization headers", (jwt) => [bearer(jwt), bearer(jwt)]),
    headers("an authorization header and a bad one", (jwt) => [bearer(jwt), bearer(CANARY)]),
    headers("an authorization header behind a bad one", (jwt) => [bearer(CANARY), bearer(jwt)]),
    headers("a byte above ASCII", (jwt) => [["authorization", `Bearer ${jwt}\xff${CANARY}`]]),
    headers("a NUL", (jwt) => [["authorization", `Bearer ${jwt}\0${CANARY}`]]),
    headers("a line break", (jwt) => [["authorization", `Bearer ${jwt}\n${CANARY}`]]),
    headers("12 KB of nothing", () => [bearer("a".repeat(12_000))]),
    headers("an organization beside it", (jwt) => [bearer(jwt), ["x-organization-id", "acme"]]),
    headers("a user beside it", (jwt) => [bearer(jwt), ["x-user-id", "alice"]]),
    headers("a claim to be an administrator beside it", (jwt) => [bearer(jwt), ["x-organization-admin", "true"]]),
    headers("the identity of development mode", () => [
      ["x-organization-id", "acme"],
      ["x-user-id", "alice"],
    ]),
    headers("a cookie instead", (jwt) => [["cookie", `authorization=${jwt}`]]),
    headers("proxy-authorization instead", (jwt) => [["proxy-authorization", `Bearer ${jwt}`]]),
    apiToken("an API token with a wrong checksum", (token) => token.slice(0, -1) + (token.endsWith("x") ? "y" : "x")),
    apiToken("an API token with another secret", (token) => formatToken("apt", token.slice(5, 33), generateSecret())),
    apiToken("an API token that never was", () => formatToken("apt", generateUid("acme"), generateSecret())),
    apiToken("an API token of another prefix", (token) => formatToken("xyz", token.slice(5, 33), token.slice(33, 76))),
    apiToken("half an API token", (token) => token.slice(0, 40)),
    apiToken("an API token twice", (token) => token + token),
    ended("a revoked API token", get, (target, jwt) => rpc(target, "revokeToken", { name: "credential" }, [jwt])),
    ended("a superseded API token", get, (target, jwt) => rpc(target, "renewToken", { name: "credential" }, [jwt])),
  ];
}

function ended(name: string, get: () => Credentials, end: (target: Target, jwt: Header) => Promise<Outcome>): Row {
  return {
    name,
    act: async (target) => {
      const jwt = bearer(await get().issuer.sign());
      await rpc(target, "revokeToken", { name: "credential" }, [jwt]);
      const token = responseField<string>(await rpc(target, "createToken", { name: "credential" }, [jwt]), "token");
      await end(target, jwt);
      return rpc(target, "getToken", { name: "credential" }, [bearer(get().present(token))]);
    },
    expected: UNAUTHENTICATED,
  };
}

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
            : DENIED;
        return row(`${method} by ${who}`, claims, expected, (target, jwt) =>
          rpc(target, method, { userId: "alice" }, [jwt]),
        );
      }),
      row(`verifyToken by ${who}`, claims, DENIED, (target, jwt) => rpc(target, "verifyToken", { token: "x" }, [jwt])),
    ]),
    row("every user's tokens by a user", {}, DENIED, (target, jwt) =>
      rpc(target, "listTokens", { userId: "-" }, [jwt]),
    ),
    row("every user's events by a user", {}, DENIED, (target, jwt) =>
      rpc(target, "listTokenEvents", { userId: "-" }, [jwt]),
    ),
    row("a role that the user does not hold", {}, DENIED, (target, jwt) =>
      rpc(target, "createToken", { name: "above", role: "owner" }, [jwt]),
    ),
    ...(["createToken", "listTokens", "listTokenEvents", "verifyToken"] as const).map((method) =>
      row(`${method} by an API token`, {}, DENIED, (target, jwt) =>
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
    await rpc(target, "revokeToken", { name: "caller" }, [jwt]);
    const token = responseField<string>(await rpc(target, "createToken", { name: "caller" }, [jwt]), "token");
    return call(bearer(get().present(token)));
  }
}

/** All RPCs of owners, as a service that is only granted to verify. */
export function serviceRows(): Row[] {
  const row = (name: string, extra: readonly Header[], expected: Row["expected"] = UNAUTHENTICATED): Row => ({
    name,
    act: (target) => exchange(target, { extra }),
    expected,
  });
  return [
    ...Object.values(ApiTokenServiceService).map(({ path }) => ({
      name: `${path.split("/").at(-1)} by a service that may only verify`,
      act: async (target: Target) => {
        const name = { name: "hers" };
        const method = path.split("/").at(-1) ?? "";
        const key = (method.charAt(0).toLowerCase() + method.slice(1)) as keyof typeof ApiTokenServiceService;
        return rpc(target, key, key.startsWith("list") ? {} : name);
      },
      expected: DENIED,
    })),
    row(
      "a user, without the grant for that",
      [
        ["x-organization-id", "acme"],
        ["x-user-id", "alice"],
      ],
      DENIED,
    ),
    row("an organization without a user", [["x-organization-id", "acme"]]),
    row("a user without an organization", [["x-user-id", "alice"]]),
    row("two users", [
      ["x-organization-id", "acme"],
      ["x-user-id", "alice"],
      ["x-user-id", "bob"],
    ]),
    row("a user that stands for everybody", [
      ["x-organization-id", "acme"],
      ["x-user-id", "-"],
    ]),
    row("a user with a space", [
      ["x-organization-id", "acme"],
      ["x-user-id", "a b"],
    ]),
    row("an empty user", [
      ["x-organization-id", "acme"],
      ["x-user-id", ""],
    ]),
    row("a claim to be an administrator", [["x-organization-admin", "true"]]),
    row("a bearer credential beside the certificate", [bearer(CANARY)]),
  ];
}
