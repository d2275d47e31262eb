// The identity of development mode: callers say who they are and are believed. Only for a server on loopback with
// nothing configured; src/config.ts refuses everything else.
import type { Metadata } from "@grpc/grpc-js";
import type { Principal } from "../domain/access.js";
import { ApiTokenError } from "../domain/errors.js";
import { isIdentityName } from "../domain/fields.js";

const DEFAULT_IDENTITY = "dev";
const ALL_GRANTS: Principal["grants"] = new Set(["verify"]);

/**
 * The caller named by the metadata `x-organization-id` and `x-user-id` (default `dev`), an organization administrator
 * with `x-organization-admin: true`. Throws UNAUTHENTICATED for a value that cannot be a name, and for a doubled one.
 */
export function developmentPrincipal(metadata: Metadata): Principal {
  const administrator = single(metadata, "x-organization-admin") ?? "false";
  if (administrator !== "true" && administrator !== "false") throw new ApiTokenError("UNAUTHENTICATED");
  return {
    organizationId: identity(metadata, "x-organization-id"),
    userId: identity(metadata, "x-user-id"),
    isOrganizationAdministrator: administrator === "true",
    roles: "all",
    grants: ALL_GRANTS,
  };
}

function identity(metadata: Metadata, key: string): string {
  const value = single(metadata, key) ?? DEFAULT_IDENTITY;
  if (!isIdentityName(value)) throw new ApiTokenError("UNAUTHENTICATED");
  return value;
}

function single(metadata: Metadata, key: string): string | undefined {
  const values = metadata.get(key);
  if (values.length > 1) throw new ApiTokenError("UNAUTHENTICATED");
  return values[0]?.toString();
}
