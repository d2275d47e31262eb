// Page tokens: where the next page starts, bound to the caller and the query that got it.
// The digest catches damage and mix-ups. It is no secret, so a token can be made up: whoever reads a position must not
// let it reach beyond what the query itself may see.
import { hash } from "node:crypto";
import type { Principal } from "./access.js";

const DIGEST_LENGTH = 16;

/** `query`: all that must be the same in the call for the next page, its method first. */
export function encodePageToken(caller: Principal, query: readonly string[], position: readonly string[]): string {
  const cursor = Buffer.from(JSON.stringify(position)).toString("base64url");
  return digest(caller, query, cursor) + cursor;
}

/** The position; undefined when the token is damaged or belongs to another caller or query. */
export function decodePageToken(
  caller: Principal,
  query: readonly string[],
  pageToken: string,
): readonly string[] | undefined {
  const cursor = pageToken.slice(DIGEST_LENGTH);
  if (pageToken.slice(0, DIGEST_LENGTH) !== digest(caller, query, cursor)) return undefined;
  return parse(cursor);
}

function digest({ organizationId, userId }: Principal, query: readonly string[], cursor: string): string {
  const text = JSON.stringify(["page", organizationId, userId, query, cursor]);
  return hash("sha256", text, "base64url").slice(0, DIGEST_LENGTH);
}

function parse(cursor: string): string[] | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(cursor, "base64url").toString());
    const isTexts = Array.isArray(value) && value.every((part) => typeof part === "string");
    return isTexts ? value : undefined;
  } catch {
    return undefined;
  }
}
