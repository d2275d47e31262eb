// Who may do what: one table, deny by default. Knows nothing of how a caller proved who it is (src/auth).
import { ApiTokenError } from "./errors.js";
import { etagOf, type Owner, type Token } from "./token.js";

/** What a service may be granted. */
export const GRANTS = ["verify", "act-for-users"] as const;
export type Grant = (typeof GRANTS)[number];

/** How far an API token that is presented as credential reaches. */
export const TOKEN_REACHES = ["self", "owner", "none"] as const;
export type TokenReach = (typeof TOKEN_REACHES)[number];

const ACTIONS = ["create", "get", "list", "renew", "revoke", "listEvents", "verify"] as const;
export type Action = (typeof ACTIONS)[number];

/**
 * `itself`: the token that was presented. `own`: tokens of the user that the caller acts as. `all`: those of that user's
 * organization. `granted`: with the grant `verify`, tokens of any organization. `-`: nothing.
 */
type Reach = "-" | "itself" | "own" | "all" | "granted";
type Row<Actions extends readonly Action[]> = { readonly [At in keyof Actions]: Reach };

// biome-ignore format: a table
const REACH = {
  //              create  get       list    renew     revoke    listEvents  verify
  user:          ["own",  "own",    "own",  "own",    "own",    "own",      "granted"],
  administrator: ["own",  "all",    "all",  "all",    "all",    "all",      "granted"],
  // A service by itself, and for a user that it names.
  service:       ["-",    "-",      "-",    "-",      "-",      "-",        "granted"],
  delegate:      ["own",  "own",    "own",  "own",    "own",    "own",      "granted"],
  // An API token as credential, by its reach.
  selfToken:     ["-",    "itself", "-",    "itself", "itself", "-",        "-"],
  ownerToken:    ["-",    "own",    "own",  "own",    "own",    "own",      "-"],
  idleToken:     ["-",    "-",      "-",    "-",      "-",      "-",        "-"],
} as const satisfies Readonly<Record<string, Row<typeof ACTIONS>>>;

/** The kinds of callers that the rules tell apart. */
export type CallerKind = keyof typeof REACH;

/** A caller whose identity is proven. It acts as the user `userId` of `organizationId`; both are empty for a service by itself. */
export interface Principal extends Owner {
  readonly kind: CallerKind;
  /** Who it is, for events, limits and the log: `user:<id>`, `service:<URI>` or `token:<uid>`. */
  readonly actor: string;
  /** The roles that the caller holds and may give to a token. */
  readonly roles: "all" | ReadonlySet<string>;
  readonly grants: ReadonlySet<Grant>;
  /** The API token that was presented as credential. */
  readonly token: PresentedToken | undefined;
}

/** `etag`: that of the state whose secret was presented, which is past where it is the previous secret. */
export interface PresentedToken {
  readonly uid: string;
  readonly name: string;
  readonly etag: string;
}

const NO_GRANTS: ReadonlySet<Grant> = new Set();
const NO_ROLES: ReadonlySet<string> = new Set();

/** A person or program that signed in. */
export function userPrincipal(
  owner: Owner,
  facts: { isAdministrator: boolean; roles: Principal["roles"]; grants?: ReadonlySet<Grant> },
): Principal {
  const { organizationId, userId } = owner;
  const kind = facts.isAdministrator ? "administrator" : "user";
  const { roles, grants = NO_GRANTS } = facts;
  return { kind, actor: `user:${userId}`, organizationId, userId, roles, grants, token: undefined };
}

/**
 * A service, by itself or for a user that it names. Throws INSUFFICIENT_PRIVILEGE without the grant for that. It vouches
 * for its user, and so for the user's roles.
 */
export function servicePrincipal(uri: string, grants: ReadonlySet<Grant>, actsFor: Owner | undefined): Principal {
  const actor = `service:${uri}`;
  if (actsFor === undefined) {
    return { kind: "service", actor, organizationId: "", userId: "", roles: NO_ROLES, grants, token: undefined };
  }
  if (!grants.has("act-for-users")) throw new ApiTokenError("INSUFFICIENT_PRIVILEGE");
  const { organizationId, userId } = actsFor;
  return { kind: "delegate", actor, organizationId, userId, roles: "all", grants, token: undefined };
}

/**
 * An API token as credential, by which of its secrets. One with a role never reaches beyond itself, for its owner's other
 * tokens may have more, and neither does a previous secret, which may be the one that had to be replaced.
 */
export function tokenPrincipal(token: Token, secret: "current" | "previous", reach: TokenReach): Principal {
  const { organizationId, userId, uid, name, role } = token;
  const generation = secret === "current" ? token.generation : token.generation - 1;
  const presented = { uid, name, etag: etagOf({ uid, generation }) };
  const ownerOrSelf = reach === "owner" && role === "" && secret === "current" ? "ownerToken" : "selfToken";
  const kind = reach === "none" ? "idleToken" : ownerOrSelf;
  return { kind, actor: `token:${uid}`, organizationId, userId, roles: NO_ROLES, grants: NO_GRANTS, token: presented };
}

/** What an action is about: tokens of a user of the caller's organization, and which of them, where it is one. */
export interface Target {
  readonly userId: string;
  readonly name?: string;
}

/**
 * Throws unless the caller may do this: INSUFFICIENT_PRIVILEGE where it tells nothing, and TOKEN_NOT_FOUND where the
 * refusal would tell that a token exists.
 */
export function authorize(caller: Principal, action: Action, target: Target): void {
  const reach = REACH[caller.kind][ACTIONS.indexOf(action)] ?? "-";
  switch (reach) {
    case "-":
      throw new ApiTokenError("INSUFFICIENT_PRIVILEGE");
    case "granted":
      if (!caller.grants.has("verify")) throw new ApiTokenError("INSUFFICIENT_PRIVILEGE");
      return;
    case "itself":
      if (!isItself(caller, target)) throw new ApiTokenError("TOKEN_NOT_FOUND");
      return;
    case "own":
      if (target.userId === caller.userId) return;
      throw new ApiTokenError(target.name === undefined ? "INSUFFICIENT_PRIVILEGE" : "TOKEN_NOT_FOUND");
    case "all":
      return;
    default:
      reach satisfies never;
      throw new ApiTokenError("INSUFFICIENT_PRIVILEGE");
  }
}

/** True when the target is the token that the caller presented. Its name may since have passed on to another one. */
export function isItself({ token, userId }: Principal, target: Target): boolean {
  return token !== undefined && target.userId === userId && target.name === token.name;
}

/** Nobody mints above themselves. The empty role stands for all roles of the owner, which the owner holds. */
export function authorizeRole(caller: Principal, role: string): void {
  const isHeld = role === "" || caller.roles === "all" || caller.roles.has(role);
  if (!isHeld) throw new ApiTokenError("INSUFFICIENT_PRIVILEGE");
}
