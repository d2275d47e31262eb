// Limits of request fields, and the tokens that carry a position between requests.
import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { userPrincipal } from "../../src/domain/access.js";
import { ApiTokenError } from "../../src/domain/errors.js";
import { Fields } from "../../src/domain/fields.js";
import { decodePageToken, encodePageToken } from "../../src/domain/page-token.js";
import { openReplay, sealReplay } from "../../src/domain/replay.js";

const DAY_MS = 86_400_000;

/** The violations that a check records, as `field: description`. */
function violations(check: (fields: Fields) => unknown): string[] {
  const fields = new Fields();
  check(fields);
  try {
    fields.refuseViolations();
    return [];
  } catch (error) {
    if (!(error instanceof ApiTokenError)) throw error;
    expect(error.reason).toBe("INVALID_FIELD");
    return error.violations.map(({ field, description }) => `${field}: ${description}`);
  }
}

const nameViolations = (name: string) => violations((fields) => fields.name(name));
const NOT_PRINTABLE = "name: must be printable ASCII characters with no space at either end";

test("a name is 1 to 128 printable ASCII characters with no space at either end", () => {
  for (const name of ["a", "a:b{c}", "__proto__", "constructor", "a b", "-", "~", "!", "a".repeat(128)]) {
    expect([name, nameViolations(name)]).toEqual([name, []]);
  }
  expect(nameViolations("")).toEqual(["name: is required"]);
  expect(nameViolations("a".repeat(129))).toEqual(["name: must have at most 128 characters"]);
  for (const name of [" ", " a", "a ", "a\n", "\n", "a\0b", "\u007f", "é", "\ufffd", "a\tb", "🙂", "\ud800"]) {
    expect([name, nameViolations(name)]).toEqual([name, [NOT_PRINTABLE]]);
  }
});

test("a name passes exactly when its characters allow it", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", minLength: 1, maxLength: 140 }), (name) => {
      const isPrintable = [...name].every((char) => char >= " " && char <= "~");
      const isValid = isPrintable && name.trim() === name && name.length <= 128;
      expect(nameViolations(name).length === 0).toBe(isValid);
    }),
  );
});

test("a ttl is from one minute to the maximum, in whole milliseconds", () => {
  const check = (seconds: bigint, nanos = 0) => violations((fields) => fields.ttl({ seconds, nanos }, 365 * DAY_MS));
  const outOfRange = ["ttl: must be from 60 to 31536000 seconds"];
  for (const seconds of [60n, 31_536_000n]) expect(check(seconds)).toEqual([]);
  for (const seconds of [-1n, 0n, 59n, 31_536_001n, 315_360_000_000n, 2n ** 63n - 1n, -(2n ** 63n)]) {
    expect(check(seconds)).toEqual(outOfRange);
  }
  expect(check(59n, 999_999_999)).toEqual(outOfRange);
  expect(check(31_536_000n, 1)).toEqual(outOfRange);
  expect(check(60n, 1)).toEqual(["ttl: must be in whole milliseconds"]);
  const badNanos = ["ttl: must have nanos within one second and of the sign of seconds"];
  for (const nanos of [1_000_000_000, -1, 2 ** 31 - 1, -(2 ** 31)]) expect(check(60n, nanos)).toEqual(badNanos);
  expect(new Fields().ttl({ seconds: 60n, nanos: 500_000_000 }, DAY_MS)).toBe(60_500);
});

test("an unset ttl is 90 days, or the maximum where that is less", () => {
  expect(new Fields().ttl(undefined, 365 * DAY_MS)).toBe(7_776_000_000);
  expect(new Fields().ttl(undefined, DAY_MS)).toBe(DAY_MS);
});

test("a grace period is from 0 to 7 days", () => {
  const check = (seconds: bigint) => violations((fields) => fields.gracePeriod({ seconds, nanos: 0 }));
  for (const seconds of [0n, 604_800n]) expect(check(seconds)).toEqual([]);
  for (const seconds of [-1n, 604_801n])
    expect(check(seconds)).toEqual(["grace_period: must be from 0 to 604800 seconds"]);
});

test("expire_before is an instant of the years 1 to 9999; what counts is the first millisecond that is not before it", () => {
  const at = (seconds: bigint, nanos = 0) => new Fields().expireBefore({ seconds, nanos });
  expect(new Fields().expireBefore(undefined)).toBeUndefined();
  expect([at(0n), at(5n, 1_000_000), at(5n, 1), at(5n, 999_999_999), at(-1n, 1)]).toEqual([0, 5001, 5001, 6000, -999]);
  const check = (seconds: bigint, nanos = 0) => violations((fields) => fields.expireBefore({ seconds, nanos }));
  for (const seconds of [-62_135_596_800n, 253_402_300_799n]) expect(check(seconds, 999_999_999)).toEqual([]);
  for (const seconds of [-62_135_596_801n, 253_402_300_800n, 2n ** 63n - 1n, -(2n ** 63n)]) {
    expect(check(seconds)).toEqual(["expire_before: must be in the years 1 to 9999"]);
  }
  for (const nanos of [-1, 1_000_000_000, 2 ** 31 - 1, -(2 ** 31)]) {
    expect(check(0n, nanos)).toEqual(["expire_before: must have nanos from 0 to 999999999"]);
  }
});

test("a request_id is a UUID, in any case of letters", () => {
  const check = (text: string) => violations((fields) => fields.requestId(text));
  expect(new Fields().requestId("1B9D6BCD-BBFD-4B2D-9B5D-AB8DFBBD4BED")).toBe("1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed");
  expect(new Fields().requestId("")).toBeUndefined();
  const bad = [
    "x",
    "00000000-0000-0000-0000-000000000000",
    "1b9d6bcdbbfd4b2d9b5dab8dfbbd4bed",
    "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed\n",
  ];
  for (const text of bad) expect(check(text)).toEqual(["request_id: must be a UUID other than the nil UUID"]);
});

test("page sizes: 0 is 50, above 1000 is 1000, negative is refused", () => {
  const sizes = [0, 1, 1000, 1001, 2 ** 31 - 1].map((size) => new Fields().pageSize(size));
  expect(sizes).toEqual([50, 1, 1000, 1000, 1000]);
  expect(violations((fields) => fields.pageSize(-1))).toEqual(["page_size: must not be negative"]);
});

test("all violations come at once, in the order of the checks", () => {
  const all = violations((fields) => {
    fields.name("");
    fields.role("\n");
    fields.ttl({ seconds: 0n, nanos: 0 }, DAY_MS);
    fields.requestId("x");
    fields.userId("a b", "me");
  });
  expect(all.map((violation) => violation.split(":")[0])).toEqual(["name", "role", "ttl", "request_id", "user_id"]);
});

const principal = (organizationId: string, userId: string) =>
  userPrincipal({ organizationId, userId }, { isAdministrator: false, roles: "all" });
const identities = fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 });

test("a page token gives its position back to the same caller and query only", () => {
  fc.assert(
    fc.property(identities, identities, identities, fc.string(), (organization, user, other, name) => {
      const caller = principal(organization, user);
      const position = [user, name];
      const query = ["ListTokens", "-"];
      const token = encodePageToken(caller, query, position);
      expect(decodePageToken(caller, query, token)).toEqual(position);
      for (const another of [["ListTokens", user, ""], ["ListTokenEvents", "-"], ["ListTokens"]]) {
        expect(decodePageToken(caller, another, token)).toBeUndefined();
      }
      if (other !== user) expect(decodePageToken(principal(organization, other), query, token)).toBeUndefined();
      if (other !== organization) expect(decodePageToken(principal(other, user), query, token)).toBeUndefined();
    }),
  );
});

test("a page token cut or with any character changed is refused", () => {
  const caller = principal("acme", "alice");
  const query = ["ListTokens", "alice"];
  const token = encodePageToken(caller, query, ["alice", "my_token"]);
  for (let at = 0; at < token.length; at += 1) {
    expect(decodePageToken(caller, query, token.slice(0, at))).toBeUndefined();
    expect(decodePageToken(caller, query, `${token.slice(0, at)}~${token.slice(at + 1)}`)).toBeUndefined();
  }
  fc.assert(fc.property(fc.string(), (text) => expect(decodePageToken(caller, query, text)).toBeUndefined()));
});

test("a sealed secret opens for its own request only", () => {
  const request = { organizationId: "acme", userId: "alice", requestId: crypto.randomUUID(), fields: ["renew", 1] };
  const replay = sealReplay(request, "the secret");
  expect(openReplay(request, replay.sealedSecret)).toBe("the secret");
  const others = [
    { ...request, requestId: crypto.randomUUID() },
    { ...request, userId: "bob" },
    { ...request, organizationId: "other" },
    { ...request, fields: ["renew", 2] },
  ];
  for (const other of others) expect(() => openReplay(other, replay.sealedSecret)).toThrow();
  expect(Buffer.from(replay.sealedSecret, "base64url").includes("the secret")).toBe(false);
  expect(JSON.stringify(replay)).not.toContain(request.requestId);
});
