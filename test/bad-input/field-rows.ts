// Well-formed requests whose fields break their limits: one clear refusal each, and nothing is changed.
import { NOT_FOUND, PERMISSION_DENIED } from "../secure-service.js";
import { type Method, type Outcome, responseField, rpc, type Target } from "./grpc.js";
import type { Header } from "./hpack.js";
import { CANARY, INVALID_FIELD, OK, type Row } from "./row.js";

const ADMIN: readonly Header[] = [["x-organization-admin", "true"]];
const BOB: readonly Header[] = [["x-user-id", "bob"]];

type Fields = Readonly<Record<string, unknown>>;

/** A call with these fields. */
function call(
  name: string,
  method: Method,
  fields: Fields,
  expected: Row["expected"],
  extra: readonly Header[] = [],
): Row {
  return { name: `${name} (${method})`, act: (target) => rpc(target, method, fields, extra), expected };
}

/** The value in the field of each RPC that has it. */
function field(name: string, methods: Readonly<Partial<Record<Method, Fields>>>, expected: Row["expected"]): Row[] {
  return Object.entries(methods).map(([method, fields]) => call(name, method as Method, fields, expected));
}

function badName(title: string, name: string): Row[] {
  const fields = { name };
  return field(
    `a name ${title}`,
    { createToken: fields, getToken: fields, renewToken: fields, revokeToken: fields },
    INVALID_FIELD,
  );
}

function badRole(title: string, role: string): Row {
  return call(`a role ${title}`, "createToken", { name: CANARY, role }, INVALID_FIELD);
}

function badTtl(title: string, seconds: bigint, nanos = 0): Row {
  return call(`a ttl ${title}`, "createToken", { name: CANARY, ttl: { seconds, nanos } }, INVALID_FIELD);
}

function badGrace(title: string, seconds: bigint, nanos = 0): Row {
  return call(
    `a grace period ${title}`,
    "renewToken",
    { name: CANARY, gracePeriod: { seconds, nanos } },
    INVALID_FIELD,
  );
}

function badRequestId(title: string, requestId: string): Row[] {
  const fields = { name: CANARY, requestId };
  return field(`a request_id ${title}`, { createToken: fields, renewToken: fields }, INVALID_FIELD);
}

function badUser(
  title: string,
  userId: string,
  methods: readonly Method[] = ["getToken", "renewToken", "revokeToken", "listTokens"],
): Row[] {
  const fields = (method: Method) => (method === "listTokens" ? { userId } : { name: CANARY, userId });
  return methods.map((method) => call(`a user_id ${title}`, method, fields(method), INVALID_FIELD, ADMIN));
}

function badExpireBefore(title: string, expireBefore: { seconds: bigint; nanos: number }): Row {
  return call(`an expire_before ${title}`, "listTokens", { expireBefore }, INVALID_FIELD);
}

function badPageToken(title: string, pageToken: string): Row {
  return call(`a page token ${title}`, "listTokens", { pageToken }, INVALID_FIELD);
}

/** The token of a first page, which somebody takes to a second call. */
function takenPageToken(title: string, change: (pageToken: string) => Fields, extra: readonly Header[]): Row {
  return {
    name: `a page token ${title} (listTokens)`,
    act: async (target) => {
      const pageToken = await firstPage(target);
      return rpc(target, "listTokens", change(pageToken), extra);
    },
    expected: INVALID_FIELD,
  };
}

const PAGER: readonly Header[] = [["x-user-id", "pager"]];

async function firstPage(target: Target): Promise<string> {
  for (const name of ["one", "two"]) await rpc(target, "createToken", { name }, PAGER);
  return responseField(await rpc(target, "listTokens", { pageSize: 1 }, PAGER), "nextPageToken");
}

/** On a token of this row's own, with its etag at hand. */
function onToken(
  name: string,
  act: (target: Target, etag: string) => Promise<Outcome>,
  expected: Row["expected"],
): Row {
  return {
    name,
    act: async (target) => {
      await rpc(target, "revokeToken", { name: CANARY });
      const { etag } = responseField<{ etag: string }>(await rpc(target, "createToken", { name: CANARY }), "apiToken");
      return act(target, etag);
    },
    expected,
  };
}

const MISMATCH = { code: "ABORTED", reason: "ETAG_MISMATCH" };
const UUID = "6f1d6c0e-2b1c-4a53-9d0e-0f6f3a6d2c11";

export const FIELD_ROWS: readonly Row[] = [
  ...badName("that is empty", ""),
  ...badName("with a space before it", ` ${CANARY}`),
  ...badName("with a space behind it", `${CANARY} `),
  ...badName("that is a space", " "),
  ...badName("with a control character", `${CANARY}\x07`),
  ...badName("with a line break", `${CANARY}\n{"level":50}`),
  ...badName("with an escape sequence", `${CANARY}\x1b[2J`),
  ...badName("with NUL", `${CANARY}\0`),
  ...badName("with DEL", `${CANARY}\x7f`),
  ...badName("of 129 characters", CANARY.padEnd(129, "x")),
  ...badName("of 60,000 characters", CANARY.padEnd(60_000, "x")),
  ...badName("that is not ASCII", `${CANARY}é`),
  ...badName("with an emoji", `${CANARY}🙂`),
  ...badName("with a right-to-left mark", `${CANARY}\u202e`),
  ...badName("with a zero-width space", `${CANARY}\u200b`),
  ...badName("with a letter that only looks like one", `CAN\u0410RY`),
  call("a name of 128 characters", "getToken", { name: CANARY.padEnd(128, "x") }, NOT_FOUND),
  call("a name of a path", "getToken", { name: `../../${CANARY}` }, NOT_FOUND),
  call("a name of a Redis key", "getToken", { name: `{${CANARY}}:*:\\r\\n` }, NOT_FOUND),

  badRole("of 129 characters", CANARY.padEnd(129, "x")),
  badRole("with a space behind it", `${CANARY} `),
  badRole("with NUL", `${CANARY}\0`),
  badRole("that is not ASCII", `${CANARY}ß`),

  badTtl("of 0", 0n),
  badTtl("that is negative", -60n),
  badTtl("below a minute by a millisecond", 59n, 999_000_000),
  badTtl("above MAX_TTL by a millisecond", 31_536_000n, 1_000_000),
  badTtl("of a second's nanos and more", 60n, 1_000_000_000),
  badTtl("with nanos of the other sign", 61n, -1_000_000),
  badTtl("of a nanosecond too much", 60n, 1),
  badGrace("that is negative", -1n),
  badGrace("above 7 days by a millisecond", 604_800n, 1_000_000),
  badGrace("of half a millisecond", 0n, 500_000),

  ...badRequestId("that is no UUID", CANARY),
  ...badRequestId("that is the nil UUID", "00000000-0000-0000-0000-000000000000"),
  ...badRequestId("in braces", `{${UUID}}`),
  ...badRequestId("without hyphens", UUID.replaceAll("-", "")),
  ...badRequestId("with a line break", `${UUID}\n`),
  ...badRequestId("with a letter beyond f", UUID.replace("6f", "6g")),
  ...badRequestId("in full-width digits", UUID.replace("6", "\uff16")),
  ...badRequestId("as a URN", `urn:uuid:${UUID}`),

  ...field(
    "an etag of 129 characters",
    {
      renewToken: { name: CANARY, etag: CANARY.padEnd(129, "x") },
      revokeToken: { name: CANARY, etag: CANARY.padEnd(129, "x") },
    },
    INVALID_FIELD,
  ),
  onToken(
    "an etag that matches nothing",
    (target) => rpc(target, "renewToken", { name: CANARY, etag: CANARY }),
    MISMATCH,
  ),
  onToken(
    "an etag with a space",
    (target, etag) => rpc(target, "renewToken", { name: CANARY, etag: `${etag} ` }),
    MISMATCH,
  ),
  onToken("an etag of all", (target) => rpc(target, "revokeToken", { name: CANARY, etag: "*" }), MISMATCH),
  onToken(
    "an etag with NUL",
    (target, etag) => rpc(target, "revokeToken", { name: CANARY, etag: `${etag}\0` }),
    MISMATCH,
  ),
  onToken(
    "an etag from before a renewal",
    async (target, etag) => {
      await rpc(target, "renewToken", { name: CANARY, etag });
      return rpc(target, "revokeToken", { name: CANARY, etag });
    },
    MISMATCH,
  ),
  onToken(
    "a request_id of another request",
    async (target) => {
      await rpc(target, "renewToken", { name: CANARY, requestId: UUID });
      return rpc(target, "renewToken", { name: CANARY, requestId: UUID, gracePeriod: { seconds: 1n, nanos: 0 } });
    },
    { code: "INVALID_ARGUMENT", reason: "REQUEST_ID_REUSED" },
  ),
  onToken("a name that is taken", (target) => rpc(target, "createToken", { name: CANARY }), {
    code: "ALREADY_EXISTS",
    reason: "TOKEN_ALREADY_EXISTS",
  }),

  ...badUser("that is everybody", "-", ["getToken", "renewToken", "revokeToken"]),
  ...badUser("of 256 characters", CANARY.padEnd(256, "x")),
  ...badUser("with a space", `${CANARY} b`),
  ...badUser("that is not ASCII", `${CANARY}é`),
  ...badUser("with NUL", `${CANARY}\0`),
  call("everybody's tokens, for one who is no administrator", "listTokens", { userId: "-" }, PERMISSION_DENIED),
  call("another's tokens, for one who is no administrator", "listTokens", { userId: CANARY }, PERMISSION_DENIED),
  call("another's token, for one who is no administrator", "getToken", { name: CANARY, userId: "bob" }, NOT_FOUND),

  call("a page size of -1", "listTokens", { pageSize: -1 }, INVALID_FIELD),
  call("the smallest page size", "listTokens", { pageSize: -(2 ** 31) }, INVALID_FIELD),
  call("the largest page size", "listTokens", { pageSize: 2 ** 31 - 1 }, OK),
  badExpireBefore("before the year 1", { seconds: -62_135_596_801n, nanos: 0 }),
  badExpireBefore("after the year 9999", { seconds: 253_402_300_800n, nanos: 0 }),
  badExpireBefore("of the largest number", { seconds: 2n ** 63n - 1n, nanos: 2 ** 31 - 1 }),
  badExpireBefore("of the smallest number", { seconds: -(2n ** 63n), nanos: -(2 ** 31) }),
  badExpireBefore("with negative nanos", { seconds: 0n, nanos: -1 }),
  badExpireBefore("of a second's nanos and more", { seconds: 0n, nanos: 1_000_000_000 }),
  call("the last expire_before", "listTokens", { expireBefore: { seconds: 253_402_300_799n, nanos: 999_999_999 } }, OK),
  badPageToken("of garbage", CANARY),
  badPageToken("of 10 KB", CANARY.padEnd(10_000, "x")),
  badPageToken("of 60 KB", CANARY.padEnd(60_000, "A")),
  badPageToken("with NUL", `${CANARY}\0`),
  badPageToken("that is a digest only", "A".repeat(16)),
  badPageToken("of deep JSON", `${"A".repeat(16)}${Buffer.from("[".repeat(9000)).toString("base64url")}`),
  takenPageToken("of another caller", (pageToken) => ({ pageToken }), BOB),
  takenPageToken("of another query", (pageToken) => ({ pageToken, userId: "-" }), [...PAGER, ...ADMIN]),
  takenPageToken("that is cut off", (pageToken) => ({ pageToken: pageToken.slice(0, -1) }), PAGER),
  takenPageToken("with something behind it", (pageToken) => ({ pageToken: `${pageToken}A` }), PAGER),

  call("a name and a uid", "listTokenEvents", { name: CANARY, uid: "LDfrXxYqqA0MN19JaCTWrAeEVr0y" }, INVALID_FIELD),
  call("a uid that is too short", "listTokenEvents", { uid: CANARY }, INVALID_FIELD),
  call("a uid that is too long", "listTokenEvents", { uid: CANARY.padEnd(29, "x") }, INVALID_FIELD),
  call("a uid with a brace", "listTokenEvents", { uid: `${CANARY}}`.padEnd(28, "x") }, INVALID_FIELD),
  call("a name with a space behind it", "listTokenEvents", { name: `${CANARY} ` }, INVALID_FIELD),
  call("a page size of -1", "listTokenEvents", { pageSize: -1 }, INVALID_FIELD),
  call("a page token of garbage", "listTokenEvents", { pageToken: CANARY }, INVALID_FIELD),
  call("a user_id with a space", "listTokenEvents", { userId: `${CANARY} b` }, INVALID_FIELD),
  call("everybody's events, for one who is no administrator", "listTokenEvents", { userId: "-" }, PERMISSION_DENIED),
];
