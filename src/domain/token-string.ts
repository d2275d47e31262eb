// The bearer string: how it is written, read and hashed.
//
//   apt_1Hq0...Zx
//   |   ||<- 28 ->||<- 43 ->||<- 6 ->|
//   |   | uid       secret    CRC-32 of everything before it
//   |   version
//   prefix
//
// All letters and digits, so that a double-click selects it and a secret scanner finds it. The uid is 16 characters of
// the organization's tag and 12 of the token's own id: a verification knows the one key to read from the string alone.
import { hash, randomFillSync, timingSafeEqual } from "node:crypto";
import { crc32 } from "node:zlib";

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const VERSION = "1";
const TAG_LENGTH = 16;
export const ID_LENGTH = 12;
const UID_LENGTH = TAG_LENGTH + ID_LENGTH;
/** 62^43 > 2^256. */
const SECRET_LENGTH = 43;
const CHECKSUM_LENGTH = 6;
/** SHA-256 in base64url. */
const HASH_LENGTH = 43;
const MAX_TAGS = 10_000;
const BODY_LENGTH = VERSION.length + UID_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH;
const UID = new RegExp(`^[0-9A-Za-z]{${UID_LENGTH}}$`);
const BODY = new RegExp(`^${VERSION}[0-9A-Za-z]{${BODY_LENGTH - VERSION.length}}$`);

/** The two parts of a uid. */
export interface UidParts {
  readonly tag: string;
  readonly id: string;
}

/** Writes the bearer string of a token. */
export function formatToken(prefix: string, uid: string, secret: string): string {
  const head = `${prefix}_${VERSION}${uid}${secret}`;
  return head + checksum(head);
}

/** Reads a bearer string; undefined for anything that is not exactly one of ours. Costs no store call. */
export function parseToken(prefix: string, text: string): { uid: string; secret: string } | undefined {
  const bodyStart = prefix.length + 1;
  if (text.length !== bodyStart + BODY_LENGTH || !text.startsWith(`${prefix}_`)) return undefined;
  if (!BODY.test(text.slice(bodyStart))) return undefined;
  const checksumStart = text.length - CHECKSUM_LENGTH;
  if (checksum(text.slice(0, checksumStart)) !== text.slice(checksumStart)) return undefined;
  const secretStart = bodyStart + VERSION.length + UID_LENGTH;
  return { uid: text.slice(bodyStart + VERSION.length, secretStart), secret: text.slice(secretStart, checksumStart) };
}

/** A new secret of 256 random bits. */
export function generateSecret(): string {
  return randomText(SECRET_LENGTH);
}

/** A new uid in the organization's tag. */
export function generateUid(organizationId: string): string {
  return organizationTag(organizationId) + randomText(ID_LENGTH);
}

export function isUid(text: string): boolean {
  return UID.test(text);
}

export function splitUid(uid: string): UidParts {
  return { tag: uid.slice(0, TAG_LENGTH), id: uid.slice(TAG_LENGTH) };
}

/**
 * 95 bits of the organization id's SHA-256: too many to find an id that collides with a given organization's. Two ids that
 * somebody chose to collide would share an index, so the store compares organization ids besides.
 */
export function organizationTag(organizationId: string): string {
  const known = tags.get(organizationId);
  if (known !== undefined) return known;
  const tag = digestTag(organizationId);
  if (tags.size >= MAX_TAGS) tags.clear();
  tags.set(organizationId, tag);
  return tag;
}

/** Those of organizations that have called lately: 32 divisions of a 256-bit number cost more than hashing a secret. */
const tags = new Map<string, string>();

function digestTag(organizationId: string): string {
  let value = BigInt(`0x${hash("sha256", organizationId, "hex")}`);
  let tag = "";
  while (tag.length < TAG_LENGTH) {
    tag += ALPHABET[Number(value % 62n)];
    value /= 62n;
  }
  return tag;
}

/** What the store keeps of a secret. Plain SHA-256 is enough: the secret is 256 random bits, nothing to guess. */
export function hashSecret(secret: string): string {
  return hash("sha256", secret, "base64url");
}

/** Compares two secret hashes in constant time. */
export function isSameHash(a: string, b: string): boolean {
  if (a.length !== HASH_LENGTH || b.length !== HASH_LENGTH) return false;
  compared.a.write(a, "latin1");
  compared.b.write(b, "latin1");
  return timingSafeEqual(compared.a, compared.b);
}

const compared = { a: Buffer.alloc(HASH_LENGTH), b: Buffer.alloc(HASH_LENGTH) };

/** Uniform letters and digits from the operating system's generator. */
export function randomText(length: number): string {
  let text = "";
  while (text.length < length) {
    if (pool.next === pool.bytes.length) {
      randomFillSync(pool.bytes);
      pool.next = 0;
    }
    const byte = pool.bytes[pool.next] ?? 0;
    pool.bytes[pool.next] = 0;
    pool.next += 1;
    // 248 = 4 * 62: bytes above it would make some characters likelier than others.
    if (byte < 248) text += ALPHABET[byte % 62];
  }
  return text;
}

/** One system call fills many secrets; each byte is wiped as it is used. */
const pool = { bytes: Buffer.alloc(4096), next: 4096 };

function checksum(text: string): string {
  let value = crc32(text);
  let digits = "";
  while (digits.length < CHECKSUM_LENGTH) {
    digits = ALPHABET[value % 62] + digits;
    value = Math.floor(value / 62);
  }
  return digits;
}
