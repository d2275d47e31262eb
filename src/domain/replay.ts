// What makes a mutation safe to retry (AIP-155): a request_id is remembered as a hash, and the secret that answered it
// is kept sealed under a key that only the request_id yields. Nothing at rest reveals either.
import { createCipheriv, createDecipheriv, hash, hkdfSync, randomBytes } from "node:crypto";

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** What the store keeps of a retryable mutation. */
export interface Replay {
  /** Names the request within its caller; 128 bits of SHA-256. */
  readonly requestHash: string;
  /** Tells the same id with other fields apart. */
  readonly fingerprint: string;
  readonly sealedSecret: string;
}

/** Who sent which request_id for what. `fields` are all fields that must be the same in a retry. */
export interface RetryableRequest {
  readonly organizationId: string;
  readonly userId: string;
  readonly requestId: string;
  readonly fields: readonly (string | number)[];
}

export function sealReplay(request: RetryableRequest, secret: string): Replay {
  const { requestHash, fingerprint } = identify(request);
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv("aes-256-gcm", sealingKey(request), nonce).setAAD(Buffer.from(fingerprint));
  const sealed = Buffer.concat([nonce, cipher.update(secret, "utf8"), cipher.final(), cipher.getAuthTag()]);
  return { requestHash, fingerprint, sealedSecret: sealed.toString("base64url") };
}

/** The secret that answered the request before. Throws when the seal was not made for this request. */
export function openReplay(request: RetryableRequest, sealedSecret: string): string {
  const { fingerprint } = identify(request);
  const sealed = Buffer.from(sealedSecret, "base64url");
  const decipher = createDecipheriv("aes-256-gcm", sealingKey(request), sealed.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(Buffer.from(fingerprint)).setAuthTag(sealed.subarray(-TAG_BYTES));
  return decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES), undefined, "utf8") + decipher.final("utf8");
}

function identify({ organizationId, userId, requestId, fields }: RetryableRequest) {
  return {
    requestHash: digest(["request", organizationId, userId, requestId]),
    fingerprint: digest(["fields", organizationId, userId, ...fields]),
  };
}

function digest(parts: readonly (string | number)[]): string {
  return hash("sha256", JSON.stringify(parts), "base64url").slice(0, 22);
}

function sealingKey({ organizationId, userId, requestId }: RetryableRequest): Buffer {
  const salt = JSON.stringify([organizationId, userId]);
  return Buffer.from(hkdfSync("sha256", requestId, salt, "apitoken.v1 sealed replay", 32));
}
