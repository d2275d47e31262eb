// What is presented to VerifyToken: anything is a valid question, and only a live token is active.
import { crc32 } from "node:zlib";
import { InactiveReason } from "../../gen/apitoken/v1/token_verification_service.js";
import { formatToken, generateSecret } from "../../src/domain/token-string.js";
import { responseField, rpc, type Target } from "./grpc.js";
import { CANARY, type Row } from "./row.js";

const NAME = "presented";
const inactive = (reason: InactiveReason) => ({ code: "OK", response: { active: false, reason } });
const MALFORMED = inactive(InactiveReason.INACTIVE_REASON_MALFORMED);
const UNKNOWN = inactive(InactiveReason.INACTIVE_REASON_UNKNOWN);
const SUPERSEDED = inactive(InactiveReason.INACTIVE_REASON_SUPERSEDED);
const ACTIVE = { code: "OK", response: { active: true } };

/** A string that has nothing to do with any token. */
function text(name: string, token: string): Row {
  return { name, act: (target) => rpc(target, "verifyToken", { token }), expected: MALFORMED };
}

/** A string made of a live token. */
function changed(name: string, change: (token: string) => string, expected: Row["expected"]): Row {
  return {
    name,
    act: async (target) => rpc(target, "verifyToken", { token: change(await liveToken(target)) }),
    expected,
  };
}

async function liveToken(target: Target): Promise<string> {
  await rpc(target, "revokeToken", { name: NAME });
  return responseField(await rpc(target, "createToken", { name: NAME }), "token");
}

/** A token is then ended in some way. */
function ended(name: string, end: (target: Target) => Promise<unknown>, expected: Row["expected"]): Row {
  return {
    name,
    act: async (target) => {
      const token = await liveToken(target);
      await end(target);
      return rpc(target, "verifyToken", { token });
    },
    expected,
  };
}

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** The string with the checksum that fits it, as anybody can compute it. */
function checked(head: string): string {
  let value = crc32(head);
  let digits = "";
  for (let i = 0; i < 6; i += 1, value = Math.floor(value / 62)) digits = ALPHABET[value % 62] + digits;
  return head + digits;
}

const uidOf = (token: string) => token.slice(5, 33);
const other = (char: string | undefined) => (char === "x" ? "y" : "x");

export const TOKEN_ROWS: readonly Row[] = [
  text("nothing", ""),
  text("a word", CANARY),
  text("60 KB of a letter", "a".repeat(60_000)),
  text("60 KB that begin like a token", `apt_1${CANARY}`.padEnd(60_000, "a")),
  text("the right length of another prefix", `xyz_1${CANARY}`.padEnd(82, "a")),
  text("the right length and a wrong checksum", `apt_1${CANARY}`.padEnd(82, "a")),
  text("NUL", `apt_1${CANARY}\0`),
  text("a line break", `apt_1${CANARY}\r\n`),
  text("an emoji", `apt_🙂${CANARY}`),
  text("a Bearer prefix", `Bearer apt_1${CANARY}`),
  text("a JWT", `eyJhbGciOiJub25lIn0.${Buffer.from(CANARY).toString("base64url")}.`),
  changed("a live token", (token) => token, ACTIVE),
  changed("a live token with a space before it", (token) => ` ${token}`, MALFORMED),
  changed("a live token with a space behind it", (token) => `${token} `, MALFORMED),
  changed("a live token with a line break behind it", (token) => `${token}\n`, MALFORMED),
  changed("a live token with NUL behind it", (token) => `${token}\0`, MALFORMED),
  changed("a live token twice", (token) => token + token, MALFORMED),
  changed("a live token without its last character", (token) => token.slice(0, -1), MALFORMED),
  changed("a live token with another last character", (token) => token.slice(0, -1) + other(token.at(-1)), MALFORMED),
  changed("a live token in upper case", (token) => token.toUpperCase(), MALFORMED),
  changed("a live token of another prefix", (token) => checked(token.slice(0, -6).replace("apt_", "xyz_")), MALFORMED),
  changed(
    "a live token of another version",
    (token) => checked(token.slice(0, -6).replace("apt_1", "apt_2")),
    MALFORMED,
  ),
  changed("a live token with a Cyrillic letter for a Latin one", (token) => token.replace("a", "\u0430"), MALFORMED),
  changed("a live token with a full-width digit", (token) => token.replace("1", "\uff11"), MALFORMED),
  changed("a live token with a combining mark", (token) => `${token.slice(0, 40)}\u0301${token.slice(41)}`, MALFORMED),
  changed(
    "a live token with a hyphen inside",
    (token) => checked(`${token.slice(0, 40)}-${token.slice(41, -6)}`),
    MALFORMED,
  ),
  changed(
    "the uid of a live token with another secret",
    (token) => formatToken("apt", uidOf(token), generateSecret()),
    UNKNOWN,
  ),
  changed(
    "a live token's secret with another uid",
    (token) => checked(token.slice(0, 32) + other(token[32]) + token.slice(33, -6)),
    UNKNOWN,
  ),
  changed(
    "a live token with one character of its secret changed",
    (token) => checked(token.slice(0, 50) + other(token[50]) + token.slice(51, -6)),
    UNKNOWN,
  ),
  changed("a well-formed token that never was", () => formatToken("apt", "x".repeat(28), generateSecret()), UNKNOWN),
  ended("a revoked token", (target) => rpc(target, "revokeToken", { name: NAME }), UNKNOWN),
  ended("a renewed token", (target) => rpc(target, "renewToken", { name: NAME }), SUPERSEDED),
  ended(
    "a token renewed twice",
    async (target) => {
      await rpc(target, "renewToken", { name: NAME });
      await rpc(target, "renewToken", { name: NAME });
    },
    UNKNOWN,
  ),
];
