// Page tokens of ListTokens: where the next page starts, bound to the caller and the query that got it.
// The digest catches damage and mix-ups. It is no secret, so a token can be made up: a position counts only where the
// query itself may look.
import { hash } from "node:crypto";
import type { Principal } from "./access.js";
import { ALL_USERS } from "./token.js";

/** The last token of a page. The next page starts right after it. */
export interface ListPosition {
  readonly userId: string;
  readonly name: string;
}

const DIGEST_LENGTH = 16;

export function encodePageToken(caller: Principal, queryUserId: string, position: ListPosition): string {
  const cursor = Buffer.from(JSON.stringify([position.userId, position.name])).toString("base64url");
  return digest(caller, queryUserId, cursor) + cursor;
}

/** The position; undefined when the token is damaged or belongs to another caller or query. */
export function decodePageToken(caller: Principal, queryUserId: string, pageToken: string): ListPosition | undefined {
  const cursor = pageToken.slice(DIGEST_LENGTH);
  if (pageToken.slice(0, DIGEST_LENGTH) !== digest(caller, queryUserId, cursor)) return undefined;
  const [userId, name]: unknown[] = parse(cursor);
  if (typeof userId !== "string" || typeof name !== "string") return undefined;
  if (queryUserId !== ALL_USERS && userId !== queryUserId) return undefined;
  return { userId, name };
}

function digest({ organizationId, userId }: Principal, queryUserId: string, cursor: string): string {
  const text = JSON.stringify(["page", organizationId, userId, queryUserId, cursor]);
  return hash("sha256", text, "base64url").slice(0, DIGEST_LENGTH);
}

/** Anything but a JSON array is an empty one. */
function parse(cursor: string): unknown[] {
  try {
    const value: unknown = JSON.parse(Buffer.from(cursor, "base64url").toString());
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}
