// What bad input gets: a clear error from the table, and nothing changed. No input comes back in an error.
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { InactiveReason } from "../../gen/apitoken/v1/token_verification_service.js";
import { type Service, startService } from "../harness.js";

let service: Service;
let before: string;
beforeAll(async () => {
  service = await startService();
  await service.tokens.createToken({ name: "existing" });
});
beforeEach(async () => {
  before = await contents();
});
afterEach(async () => {
  expect(await contents()).toBe(before);
});
afterAll(() => service.stop());

/** Every token and index entry that Redis holds. */
async function contents(): Promise<string> {
  const redis = service.redis.client;
  const tokens = (await redis.keys("*:t:*")).sort();
  const hashes = await Promise.all(tokens.map((key) => redis.hgetall(key)));
  const indexes = await Promise.all((await redis.keys("*:index")).map((key) => redis.zrange(key, 0, -1)));
  return JSON.stringify([tokens, hashes, indexes]);
}

const NOT_PRINTABLE = "name: must be printable ASCII characters with no space at either end";
const REQUIRED = { sqlState: "3D021", violations: ["name: is required"] };
const TOO_LONG = { sqlState: "42622", violations: ["name: must have at most 128 characters"] };
const INVALID = { sqlState: "3D008", violations: [NOT_PRINTABLE] };

test.each([
  ["an empty name", "", REQUIRED],
  ["129 characters", "a".repeat(129), TOO_LONG],
  ["60,000 characters", "a".repeat(60_000), TOO_LONG],
  ["a control character", "a\u0007b", INVALID],
  ["NUL", "a\0b", INVALID],
  ["U+FFFD", "a\ufffdb", INVALID],
  ["a leading space", " a", INVALID],
  ["a trailing space", "a ", INVALID],
  ["a lone surrogate", "a\ud800", INVALID],
  ["an emoji", "🙂", INVALID],
])("%s is no name in any RPC", async (_title, name, expected) => {
  const refused = {
    code: "INVALID_ARGUMENT",
    reason: "INVALID_FIELD",
    detailTypes: ["ErrorInfo", "BadRequest"],
    ...expected,
  };
  await expect(service.tokens.createToken({ name })).rejects.toMatchObject(refused);
  await expect(service.tokens.getToken({ name })).rejects.toMatchObject(refused);
  await expect(service.tokens.renewToken({ name })).rejects.toMatchObject(refused);
  await expect(service.tokens.revokeToken({ name })).rejects.toMatchObject(refused);
});

test.each([
  ["negative", -1n, 0, "ttl: must be from 60 to 31536000 seconds"],
  ["zero", 0n, 0, "ttl: must be from 60 to 31536000 seconds"],
  ["59 s", 59n, 0, "ttl: must be from 60 to 31536000 seconds"],
  ["10,000 years", 315_569_520_000n, 0, "ttl: must be from 60 to 31536000 seconds"],
  ["the largest int64", 2n ** 63n - 1n, 999_999_999, "ttl: must be from 60 to 31536000 seconds"],
  [
    "nanos of a second and more",
    60n,
    1_000_000_000,
    "ttl: must have nanos within one second and of the sign of seconds",
  ],
  ["nanos of the other sign", 60n, -1, "ttl: must have nanos within one second and of the sign of seconds"],
  ["half a millisecond", 60n, 500_000, "ttl: must be in whole milliseconds"],
])("a ttl that is %s is refused", async (_title, seconds, nanos, violation) => {
  await expect(service.tokens.createToken({ name: "new", ttl: { seconds, nanos } })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    message: violation.replace(":", ""),
    violations: [violation],
  });
});

test("all violations of a request come at once", async () => {
  const request = { name: " ", ttl: { seconds: 0n, nanos: 0 }, role: "\0", requestId: "x" };
  await expect(service.tokens.createToken(request)).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    sqlState: "3D008",
    violations: [
      NOT_PRINTABLE,
      "role: must be printable ASCII characters with no space at either end",
      "ttl: must be from 60 to 31536000 seconds",
      "request_id: must be a UUID other than the nil UUID",
    ],
  });
  const renewal = {
    name: "",
    gracePeriod: { seconds: -1n, nanos: 0 },
    etag: "e".repeat(129),
    userId: "a b",
    requestId: "x",
  };
  await expect(service.tokens.renewToken(renewal)).rejects.toMatchObject({
    violations: [
      "name: is required",
      "grace_period: must be from 0 to 604800 seconds",
      "request_id: must be a UUID other than the nil UUID",
      "etag: must have at most 128 characters",
      "user_id: must be 1 to 255 visible ASCII characters that name one user",
    ],
  });
});

test.each(["-1", "x".repeat(10_000), "\0", "%", "AAAA"])("the page token %# is refused", async (pageToken) => {
  await expect(service.tokens.listTokens({ pageToken })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    violations: ["page_token: is not a page token of this query and caller"],
  });
});

test("a message above 64 KiB is refused before it is read", async () => {
  const refused = { code: "RESOURCE_EXHAUSTED", reason: "REQUEST_TOO_LARGE", sqlState: "54000" };
  await expect(service.tokens.createToken({ name: "a".repeat(1 << 20) })).rejects.toMatchObject(refused);
  await expect(service.verification.verifyToken({ token: "a".repeat(65_536) })).rejects.toMatchObject(refused);
});

test("a negative page size is refused", async () => {
  await expect(service.tokens.listTokens({ pageSize: -1 })).rejects.toMatchObject({
    violations: ["page_size: must not be negative"],
  });
});

test("an etag that is none of ours matches nothing", async () => {
  for (const etag of ["x", "*", "\0", "é", "0"]) {
    const refused = { code: "ABORTED", reason: "ETAG_MISMATCH", sqlState: "40001" };
    await expect(service.tokens.renewToken({ name: "existing", etag })).rejects.toMatchObject(refused);
    await expect(service.tokens.revokeToken({ name: "existing", etag })).rejects.toMatchObject(refused);
  }
});

test("whatever is presented as a token gets an answer", async () => {
  const valid = (await service.tokens.renewToken({ name: "existing" })).token;
  before = await contents();
  const malformed = { active: false, reason: InactiveReason.INACTIVE_REASON_MALFORMED };
  const cuts = Array.from({ length: valid.length }, (_, length) => valid.slice(0, length));
  const changes = Array.from(
    valid,
    (char, at) => valid.slice(0, at) + (char === "x" ? "y" : "x") + valid.slice(at + 1),
  );
  const others = [valid + valid, ` ${valid}`, `${valid} `, valid.repeat(700), "\0", "é", "\ufffd", "🙂"];
  for (const token of [...cuts, ...changes, ...others]) {
    expect(await service.verification.verifyToken({ token })).toMatchObject(malformed);
  }
});

test.each([
  ["an organization that is no name", { organization: "a b" }],
  ["a user that stands for everybody", { user: "-" }],
  ["a user of 256 characters", { user: "u".repeat(256) }],
])("%s is UNAUTHENTICATED", async (_title, as) => {
  await expect(service.tokens.listTokens({}, as)).rejects.toMatchObject({
    code: "UNAUTHENTICATED",
    reason: "UNAUTHENTICATED",
    sqlState: "42501",
    message: "a valid credential is required",
  });
});

test("names that look like keys or prototypes are ordinary names", async () => {
  for (const name of ["a:b{c}", "__proto__", "constructor", "*", "'; DROP"]) {
    const { token } = await service.tokens.createToken({ name });
    expect((await service.verification.verifyToken({ token })).apiToken?.name).toBe(name);
    expect((await service.tokens.revokeToken({ name })).apiToken?.name).toBe(name);
  }
});
