// What callers say of themselves in metadata: at most one value for a key, or it is no credential at all.
import type { Metadata } from "@grpc/grpc-js";
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

/** The one value of a key; undefined when there is none. Throws UNAUTHENTICATED for several. */
export function single(metadata: Metadata, key: string): string | undefined {
  const values = metadata.get(key);
  if (values.length > 1) throw unauthenticated(`${key} is doubled`);
  return values[0]?.toString();
}

/** As `single`, for a value that names an organization or a user. Throws UNAUTHENTICATED for what cannot be a name. */
export function identityName(metadata: Metadata, key: string): string | undefined {
  const value = single(metadata, key);
  if (value !== undefined && !isIdentityName(value)) throw unauthenticated(`${key} is no name`);
  return value;
}

/** Throws UNAUTHENTICATED when one of the keys is there: a second way to say who calls. */
export function refuseKeys(metadata: Metadata, ...keys: readonly string[]): void {
  for (const key of keys) if (metadata.get(key).length > 0) throw unauthenticated(`${key} does not belong here`);
}
