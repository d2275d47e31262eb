// Credentials -> who calls, for every mode but development: a client certificate, or else one bearer credential, which is
// an API token of ours or a JWT access token. Whatever is wrong with one, the caller is told the same.
import type { PeerCertificate } from "node:tls";
import { type Grant, type Principal, servicePrincipal, type TokenReach, tokenPrincipal } from "../domain/access.js";
import type { TokenVerifier } from "../domain/token-verifier.js";
import type { AccessTokens } from "./access-tokens.js";
import { serviceUri } from "./client-certificate.js";
import {
  AUTHORIZATION,
  type CallHeaders,
  headerOf,
  identityName,
  ORGANIZATION_ADMIN,
  ORGANIZATION_ID,
  refuseKeys,
  USER_ID,
  unauthenticated,
} from "./metadata.js";

/** What the calls of one connection have in common. */
export interface Connection {
  readonly clientCertificate: PeerCertificate | undefined;
  /** SHA-256 of a credential. */
  digestOf(credential: string): string;
}

export interface AuthenticatorOptions {
  /** Services by the URI of their certificate, with what each is granted. */
  readonly services: ReadonlyMap<string, ReadonlySet<Grant>>;
  /** undefined = no JWT is a credential. */
  readonly accessTokens: AccessTokens | undefined;
  readonly verifier: TokenVerifier;
  readonly tokenPrefix: string;
  readonly tokenReach: TokenReach;
}

/** RFC 6750: the scheme in any case, one space, a credential without spaces. Longer ones are not looked at. */
const BEARER = /^bearer (\S{1,16384})$/i;

export class Authenticator {
  readonly #options: AuthenticatorOptions;

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
  }

  /**
   * Fails with UNAUTHENTICATED for every fault of a credential, with INSUFFICIENT_PRIVILEGE for a service that may not act
   * for users, and with STORE_UNAVAILABLE or ISSUER_UNAVAILABLE when a credential cannot be checked now.
   */
  identify(headers: CallHeaders, connection: Connection): Principal | Promise<Principal> {
    const { clientCertificate } = connection;
    refuseKeys(headers, ORGANIZATION_ADMIN);
    return clientCertificate === undefined
      ? this.#bearer(headers, connection)
      : this.#service(headers, clientCertificate);
  }

  #service(headers: CallHeaders, certificate: PeerCertificate): Principal {
    refuseKeys(headers, AUTHORIZATION);
    const uri = serviceUri(certificate);
    const grants = this.#options.services.get(uri);
    if (grants === undefined) throw unauthenticated("the certificate's URI is no configured service");
    const organizationId = identityName(headers, ORGANIZATION_ID);
    const userId = identityName(headers, USER_ID);
    if (organizationId === undefined && userId === undefined) return servicePrincipal(uri, grants, undefined);
    if (organizationId === undefined || userId === undefined) throw unauthenticated("half a user is named");
    return servicePrincipal(uri, grants, { organizationId, userId });
  }

  #bearer(headers: CallHeaders, connection: Connection): Principal | Promise<Principal> {
    refuseKeys(headers, ORGANIZATION_ID, USER_ID);
    const authorization = headerOf(headers, AUTHORIZATION);
    if (authorization === undefined) throw unauthenticated("there is no credential");
    const { accessTokens, tokenPrefix } = this.#options;
    const digest = connection.digestOf(authorization);
    const known = accessTokens?.recall(digest);
    if (known !== undefined) return known;
    const [, credential] = BEARER.exec(authorization) ?? [];
    if (credential === undefined) throw unauthenticated("it is no bearer credential");
    if (credential.startsWith(`${tokenPrefix}_`)) return this.#apiToken(credential);
    if (accessTokens === undefined) throw unauthenticated("JWTs are no credential here");
    return accessTokens.verify(credential, digest);
  }

  async #apiToken(credential: string): Promise<Principal> {
    const { verifier, tokenReach } = this.#options;
    const answer = await verifier.authenticate(credential);
    if (!answer.active) throw unauthenticated(`the API token is ${answer.reason}`);
    return tokenPrincipal(answer.token, answer.secret, tokenReach);
  }
}
