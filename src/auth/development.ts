// The identity of development mode: callers say who they are and are believed. Only for a server on loopback with
// nothing configured; src/config.ts refuses everything else.
import { GRANTS, type Principal, userPrincipal } from "../domain/access.js";
import {
  type CallHeaders,
  headerOf,
  identityName,
  ORGANIZATION_ADMIN,
  ORGANIZATION_ID,
  USER_ID,
  unauthenticated,
} from "./metadata.js";

const DEFAULT_IDENTITY = "dev";
const ALL_GRANTS: Principal["grants"] = new Set(GRANTS);

/**
 * The caller named by the metadata `x-organization-id` and `x-user-id` (default `dev`), an organization administrator
 * with `x-organization-admin: true`. Throws UNAUTHENTICATED for a value that cannot be a name, and for a doubled one.
 */
export function developmentPrincipal(headers: CallHeaders): Principal {
  const administrator = headerOf(headers, ORGANIZATION_ADMIN) ?? "false";
  if (administrator !== "true" && administrator !== "false") throw unauthenticated(`${ORGANIZATION_ADMIN} is no flag`);
  const owner = {
    organizationId: identityName(headers, ORGANIZATION_ID) ?? DEFAULT_IDENTITY,
    userId: identityName(headers, USER_ID) ?? DEFAULT_IDENTITY,
  };
  return userPrincipal(owner, { isAdministrator: administrator === "true", roles: "all", grants: ALL_GRANTS });
}
