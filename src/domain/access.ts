// Who may do what: one table, deny by default. Knows nothing of how a caller proved who it is (src/auth).
import { ApiTokenError, type Reason } from "./errors.js";

/** What a service may be granted. */
export type Grant = "verify";

/** A caller whose identity is proven. */
export interface Principal {
  readonly organizationId: string;
  readonly userId: string;
  readonly isOrganizationAdministrator: boolean;
  /** The roles that the caller holds and may give to a token. */
  readonly roles: "all" | ReadonlySet<string>;
  readonly grants: ReadonlySet<Grant>;
}

export type Action = "create" | "get" | "list" | "renew" | "revoke" | "verify";

type Rule = (caller: Principal) => boolean;
const everyone: Rule = () => true;
const nobody: Rule = () => false;
const administrators: Rule = (caller) => caller.isOrganizationAdministrator;
const verifiers: Rule = (caller) => caller.grants.has("verify");

// `otherwise` is what the refused caller is told: NOT_FOUND where a plain refusal would tell that a token exists.
const RULES: Readonly<Record<Action, { own: Rule; others: Rule; otherwise: Reason }>> = {
  create: { own: everyone, others: nobody, otherwise: "INSUFFICIENT_PRIVILEGE" },
  get: { own: everyone, others: administrators, otherwise: "TOKEN_NOT_FOUND" },
  list: { own: everyone, others: administrators, otherwise: "INSUFFICIENT_PRIVILEGE" },
  renew: { own: everyone, others: administrators, otherwise: "TOKEN_NOT_FOUND" },
  revoke: { own: everyone, others: administrators, otherwise: "TOKEN_NOT_FOUND" },
  verify: { own: verifiers, others: verifiers, otherwise: "INSUFFICIENT_PRIVILEGE" },
};

/** Throws the refusal of the table unless the caller may do this to tokens of that user of its own organization. */
export function authorize(caller: Principal, action: Action, ownerUserId: string): void {
  const rule = RULES[action];
  const isAllowed = ownerUserId === caller.userId ? rule.own(caller) : rule.others(caller);
  if (!isAllowed) throw new ApiTokenError(rule.otherwise);
}

/** Nobody mints above themselves. The empty role stands for all roles of the owner, which the owner holds. */
export function authorizeRole(caller: Principal, role: string): void {
  const isHeld = role === "" || caller.roles === "all" || caller.roles.has(role);
  if (!isHeld) throw new ApiTokenError("INSUFFICIENT_PRIVILEGE");
}
