// JWT access tokens (RFC 9068, checked as RFC 8725 advises) of one issuer -> the user who signed in.
import { errors, type JWTPayload, jwtVerify } from "jose";
import { type Grant, type Principal, userPrincipal } from "../domain/access.js";
import { ApiTokenError } from "../domain/errors.js";
import { isIdentityName } from "../domain/fields.js";
import type { KeySet } from "./key-set.js";
import { unauthenticated } from "./metadata.js";

/** Signatures that only the issuer can make: never a shared secret, never `none`. */
export const ALGORITHMS = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
] as const;

export interface AccessTokenOptions {
  readonly issuer: string;
  readonly audience: string;
  readonly algorithms: readonly (typeof ALGORITHMS)[number][];
  readonly clockToleranceMs: number;
  /** The claims that hold the organization's id, the user's id, and the user's roles as an array or separated by spaces. */
  readonly organizationClaim: string;
  readonly userClaim: string;
  readonly rolesClaim: string;
  /** Who holds this role administers the organization. */
  readonly administratorRole: string;
}

/** What `typ` may say (RFC 9068, section 4); many issuers say only that it is a JWT, or nothing. */
const TYPES: ReadonlySet<string | undefined> = new Set([undefined, "jwt", "at+jwt", "application/at+jwt"]);

/** In the claim `scope` (RFC 8693) of a program that may verify tokens. */
export const VERIFY_SCOPE = "apitoken.verify";
const MAY_VERIFY: ReadonlySet<Grant> = new Set(["verify"]);

/** A JWT that was good is good for so long without another look, unless it ends or the keys are read anew before. */
const REMEMBERED_MS = 60_000;
const MAX_REMEMBERED = 10_000;

export class AccessTokens {
  readonly #keys: KeySet;
  readonly #options: AccessTokenOptions;
  /** By digest, not by the JWT: whoever reads our memory finds only the last of each open connection. */
  readonly #remembered = new Map<string, { readonly principal: Principal; readonly untilMs: number }>();
  #keysReadAtMs = 0;

  constructor(keys: KeySet, options: AccessTokenOptions) {
    this.#keys = keys;
    this.#options = options;
  }

  /**
   * Looks at a JWT and remembers its user by the digest. Rejects with UNAUTHENTICATED, and with ISSUER_UNAVAILABLE when
   * there are no keys to check it with.
   */
  async verify(jwt: string, digest: string): Promise<Principal> {
    const claims = await this.#claims(jwt);
    const principal = this.#principalOf(claims);
    // `exp` is required; the tolerance is not for what is remembered.
    this.#remember(digest, principal, Math.min(Date.now() + REMEMBERED_MS, (claims.exp ?? 0) * 1000));
    return principal;
  }

  /** The user of a JWT that was verified with this digest, while that counts. */
  recall(digest: string): Principal | undefined {
    if (this.#keys.readAtMs !== this.#keysReadAtMs) this.#remembered.clear();
    this.#keysReadAtMs = this.#keys.readAtMs;
    const known = this.#remembered.get(digest);
    return known !== undefined && Date.now() < known.untilMs ? known.principal : undefined;
  }

  #remember(digest: string, principal: Principal, untilMs: number): void {
    this.#remembered.delete(digest);
    this.#remembered.set(digest, { principal, untilMs });
    if (this.#remembered.size <= MAX_REMEMBERED) return;
    const [oldest = digest] = this.#remembered.keys();
    this.#remembered.delete(oldest);
  }

  #principalOf(claims: JWTPayload): Principal {
    const { organizationClaim, userClaim, rolesClaim, administratorRole } = this.#options;
    const roles = words(claims[rolesClaim]);
    const owner = { organizationId: name(claims, organizationClaim), userId: name(claims, userClaim) };
    const grants = words(claims["scope"]).has(VERIFY_SCOPE) ? { grants: MAY_VERIFY } : {};
    return userPrincipal(owner, { isAdministrator: roles.has(administratorRole), roles, ...grants });
  }

  async #claims(jwt: string): Promise<JWTPayload> {
    // jose forgives white space and padding around the three parts.
    if (!/^[\w-]+\.[\w-]+\.[\w-]+$/.test(jwt)) throw unauthenticated("it is no JWT");
    const { issuer, audience, algorithms, clockToleranceMs } = this.#options;
    try {
      const { payload, protectedHeader } = await jwtVerify(jwt, (header) => this.#keys.find(header), {
        issuer,
        audience,
        algorithms: [...algorithms],
        clockTolerance: clockToleranceMs / 1000,
        requiredClaims: ["exp"],
      });
      if (!TYPES.has(protectedHeader.typ?.toLowerCase())) throw unauthenticated("the JWT is of another type");
      return payload;
    } catch (error) {
      if (error instanceof ApiTokenError) throw error;
      // jose's codes are fixed words; its messages can name claims.
      throw unauthenticated(error instanceof errors.JOSEError ? error.code : "the JWT cannot be checked");
    }
  }
}

function name(claims: JWTPayload, claim: string): string {
  const value = claims[claim];
  if (typeof value !== "string" || !isIdentityName(value)) throw unauthenticated("the JWT names nobody");
  return value;
}

/** A claim that is a list, as an array of texts or as one text; anything else is an empty list. */
function words(claim: unknown): ReadonlySet<string> {
  if (typeof claim === "string") return new Set(claim.split(" ").filter((word) => word !== ""));
  return new Set(Array.isArray(claim) ? claim.filter((word) => typeof word === "string" && word !== "") : []);
}
