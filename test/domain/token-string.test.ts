// The bearer string: what is written can be read, and nothing else can.
import { expect, test } from "@jest/globals";
import fc from "fast-check";
import {
  formatToken,
  generateSecret,
  generateUid,
  hashSecret,
  organizationTag,
  parseToken,
  splitUid,
} from "../../src/domain/token-string.js";

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/** As the README publishes it for secret scanners. */
const SCANNER = /\bapt_1[0-9A-Za-z]{77}\b/;

const prefixes = fc.stringMatching(/^[a-z0-9]{2,12}$/);
const base62 = (length: number) =>
  fc.string({ unit: fc.constantFrom(...ALPHABET), minLength: length, maxLength: length });

function sample() {
  const uid = generateUid("acme");
  const secret = generateSecret();
  return { uid, secret, token: formatToken("apt", uid, secret) };
}

test("every token string reads back as its uid and secret", () => {
  fc.assert(
    fc.property(prefixes, base62(28), base62(43), (prefix, uid, secret) => {
      expect(parseToken(prefix, formatToken(prefix, uid, secret))).toEqual({ uid, secret });
    }),
  );
});

test("a token string is one run of 82 characters that the published pattern finds in text", () => {
  const { token } = sample();
  expect(token).toHaveLength(82);
  expect(`key="${token}";`.match(SCANNER)?.[0]).toBe(token);
});

test("a token cut at any length is refused", () => {
  const { token } = sample();
  for (let length = 0; length < token.length; length += 1)
    expect(parseToken("apt", token.slice(0, length))).toBeUndefined();
});

test("a token with one character changed to any other, at any place, is refused", () => {
  const { token } = sample();
  for (let at = 0; at < token.length; at += 1) {
    for (const other of `${ALPHABET}_- \0é`) {
      if (other === token[at]) continue;
      expect(parseToken("apt", token.slice(0, at) + other + token.slice(at + 1))).toBeUndefined();
    }
  }
});

test("a token doubled, padded, of another prefix or inside a megabyte is refused", () => {
  const { token } = sample();
  const bad = [
    token + token,
    ` ${token}`,
    `${token} `,
    `${token}\n`,
    token.replace("apt_", "xyz_"),
    token.toUpperCase(),
  ];
  for (const text of [...bad, token.repeat(12_800), "\0".repeat(82), "é".repeat(82)]) {
    expect(parseToken("apt", text)).toBeUndefined();
  }
});

test("no other text is taken for a token", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => expect(parseToken("apt", text)).toBeUndefined()));
  fc.assert(fc.property(base62(78), (body) => expect(parseToken("apt", `apt_${body}`)).toBeUndefined()));
});

test("secrets draw every character equally often", () => {
  const counts = new Map<string, number>();
  const draws = 4000;
  for (let i = 0; i < draws; i += 1) for (const char of generateSecret()) counts.set(char, (counts.get(char) ?? 0) + 1);
  const expected = (draws * 43) / 62;
  // Chi-square with 61 degrees of freedom: 130 is beyond one in a million.
  const chiSquare = [...ALPHABET].reduce((sum, char) => sum + ((counts.get(char) ?? 0) - expected) ** 2 / expected, 0);
  expect(counts.size).toBe(62);
  expect(chiSquare).toBeLessThan(130);
});

test("ten thousand uids and secrets are all different, and carry their organization's tag", () => {
  const uids = new Set(Array.from({ length: 10_000 }, () => generateUid("acme")));
  const secrets = new Set(Array.from({ length: 10_000 }, generateSecret));
  expect([uids.size, secrets.size]).toEqual([10_000, 10_000]);
  for (const uid of uids) expect(splitUid(uid).tag).toBe(organizationTag("acme"));
  expect(organizationTag("acme")).not.toBe(organizationTag("Acme"));
});

// Recorded once: these forms are in every stored token and in every client's hands.
test("the written forms never change", () => {
  expect(organizationTag("acme")).toBe("RwC6lguZd9HmihUd");
  expect(hashSecret("0".repeat(43))).toBe("uRiyKhWB_t05BYBl8A5qrTW9Vh8gJXFRExod3NIYA94");
  expect(formatToken("apt", "0".repeat(28), "1".repeat(43))).toBe(
    "apt_1000000000000000000000000000011111111111111111111111111111111111111111113YpVVK",
  );
});
