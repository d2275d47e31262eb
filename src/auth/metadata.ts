// What callers say of themselves in metadata: at most one value for a key, or it is no credential at all.
import type { IncomingHttpHeaders } from "node:http2";
import { ApiTokenError } from "../domain/errors.js";
import { isIdentityName } from "../domain/fields.js";

export const AUTHORIZATION = "authorization";
export const ORGANIZATION_ID = "x-organization-id";
export const USER_ID = "x-user-id";
export const ORGANIZATION_ADMIN = "x-organization-admin";

/** The refusal of every fault of a credential. `cause` is a fixed word for the log. */
export function unauthenticated(cause: string): ApiTokenError {
  return new ApiTokenError("UNAUTHENTICATED", { cause });
}

/** What a call says of itself, as node:http2 has it: several values of one key are one with commas, which is no name. */
export type CallHeaders = Readonly<IncomingHttpHeaders>;

/** The value of a key; undefined when there is none. */
export function headerOf(headers: CallHeaders, key: string): string | undefined {
  return headers[key]?.toString();
}

/** As `headerOf`, for a value that names an organization or a user. Throws UNAUTHENTICATED for what cannot be a name. */
export function identityName(headers: CallHeaders, key: string): string | undefined {
  const value = headerOf(headers, key);
  if (value !== undefined && !isIdentityName(value)) throw unauthenticated(`${key} is no name`);
  return value;
}

/** Throws UNAUTHENTICATED when one of the keys is there: a second way to say who calls. */
export function refuseKeys(headers: CallHeaders, ...keys: readonly string[]): void {
  for (const key of keys) if (headers[key] !== undefined) throw unauthenticated(`${key} does not belong here`);
}
