// A token issuer of a test's own (an OpenID provider without users): its keys, its access tokens, what an attacker
// would send instead of them, and a server of its keys that can misbehave.
import { KeyObject, sign as signBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import {
  exportJWK,
  exportSPKI,
  type GenerateKeyPairResult,
  generateKeyPair,
  type JSONWebKeySet,
  type JWTPayload,
  SignJWT,
} from "jose";

const ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"] as const;

export type Algorithm = (typeof ALGORITHMS)[number];

export interface SigningKey extends GenerateKeyPairResult {
  readonly algorithm: Algorithm;
  readonly kid: string;
}

/** Claims beside the defaults or, as `undefined`, without one of them. */
export type Claims = Readonly<Record<string, unknown>>;

export interface SignOptions {
  /** Header parameters beside or instead of alg, kid and typ. */
  readonly header?: Readonly<Record<string, unknown>>;
  /** The issuer's ES256 key by default. */
  readonly key?: SigningKey;
  /** Five minutes by default. */
  readonly expiresInSeconds?: number;
}

export interface Issuer {
  readonly issuer: string;
  readonly audience: string;
  key(algorithm: Algorithm): SigningKey;
  /** The public keys of now. */
  jwks(): Promise<JSONWebKeySet>;
  /** An access token (RFC 9068) of user alice in organization acme, a developer. */
  sign(claims?: Claims, options?: SignOptions): Promise<string>;
  /** Replaces every key; tokens of the old ones are no longer good. */
  rotateKeys(): Promise<void>;
}

export async function createIssuer({
  issuer = "https://issuer.example",
  audience = "api-token-service",
} = {}): Promise<Issuer> {
  let keys = await generateKeys();
  const key = (algorithm: Algorithm) => keys[algorithm];
  return {
    issuer,
    audience,
    key,
    jwks: async () => ({ keys: await Promise.all(Object.values(keys).map(publicJwk)) }),
    sign: (claims = {}, { header = {}, key: { algorithm, kid, privateKey } = key("ES256"), expiresInSeconds } = {}) => {
      const nowSeconds = Math.floor(Date.now() / 1000);
      const payload = {
        iss: issuer,
        aud: audience,
        sub: "alice",
        client_id: "test",
        organization_id: "acme",
        roles: ["developer"],
        iat: nowSeconds,
        exp: nowSeconds + (expiresInSeconds ?? 300),
        jti: crypto.randomUUID(),
        ...claims,
      };
      // Claims of wrong types are a test's to make, and so are parameters that jose does not know.
      return new SignJWT(payload as JWTPayload)
        .setProtectedHeader({ alg: algorithm, kid, typ: "at+jwt", ...header })
        .sign(privateKey, { crit: { [UNKNOWN_PARAMETER]: true } });
    },
    rotateKeys: async () => {
      keys = await generateKeys();
    },
  };
}

async function generateKeys(): Promise<Record<Algorithm, SigningKey>> {
  const [RS256, PS256, ES256, EdDSA] = await Promise.all(ALGORITHMS.map(generateKey));
  if (!RS256 || !PS256 || !ES256 || !EdDSA) throw new Error("an algorithm without a key");
  return { RS256, PS256, ES256, EdDSA };
}

async function generateKey(algorithm: Algorithm): Promise<SigningKey> {
  // Extractable for node:crypto, which signs in forms that jose does not.
  const pair = await generateKeyPair(algorithm, { extractable: true });
  return { ...pair, algorithm, kid: `${algorithm}-${crypto.randomUUID()}` };
}

async function publicJwk({ publicKey, algorithm, kid }: SigningKey) {
  return { ...(await exportJWK(publicKey)), alg: algorithm, kid, use: "sig" };
}

const UNKNOWN_PARAMETER = "https://example.org/unknown";

/** Tokens that must not let anybody in, by what is wrong with them; all else about each is right. */
export const HOSTILE_TOKENS: Readonly<Record<string, (issuer: Issuer) => Promise<string>>> = {
  "alg none": (issuer) => alter(issuer, ({ header, payload }) => [json({ ...header, alg: "none" }), payload, ""]),
  "alg None": (issuer) => alter(issuer, ({ header, payload }) => [json({ ...header, alg: "None" }), payload, ""]),
  "no signature": (issuer) => alter(issuer, ({ headerText, payload }) => [headerText, payload, ""]),
  "HS256 with the RSA public key as its secret": async (issuer) => {
    const { publicKey, kid } = issuer.key("RS256");
    const secret = new TextEncoder().encode(await exportSPKI(publicKey));
    const { payload } = partsOf(await issuer.sign());
    const claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as JWTPayload;
    return new SignJWT(claims).setProtectedHeader({ alg: "HS256", kid, typ: "at+jwt" }).sign(secret);
  },
  "an unknown kid": (issuer) => issuer.sign({}, { header: { kid: "unknown" } }),
  "the kid of another key": (issuer) => issuer.sign({}, { header: { kid: issuer.key("RS256").kid } }),
  "another's key under a known kid": (issuer) => signByOther(issuer, () => ({})),
  "its own jwk": (issuer) => signByOther(issuer, async (key) => ({ jwk: await publicJwk(key) })),
  "its own jwk under an unknown kid": (issuer) =>
    signByOther(issuer, async (key) => ({ kid: key.kid, jwk: await publicJwk(key) })),
  "its own jku": (issuer) => signByOther(issuer, ({ kid }) => ({ kid, jku: "https://attacker.example/jwks" })),
  "its own x5u": (issuer) => signByOther(issuer, ({ kid }) => ({ kid, x5u: "https://attacker.example/x.pem" })),
  "a critical parameter that nobody knows": (issuer) =>
    issuer.sign({}, { header: { crit: [UNKNOWN_PARAMETER], [UNKNOWN_PARAMETER]: true } }),
  "the type logout+jwt": (issuer) => issuer.sign({}, { header: { typ: "logout+jwt" } }),
  "the type secevent+jwt": (issuer) => issuer.sign({}, { header: { typ: "secevent+jwt" } }),
  "the type dpop+jwt": (issuer) => issuer.sign({}, { header: { typ: "dpop+jwt" } }),
  "an exp in the past": (issuer) => issuer.sign({}, { expiresInSeconds: -300 }),
  "no exp": (issuer) => issuer.sign({ exp: undefined }),
  "an exp that is text": (issuer) => issuer.sign({ exp: "9999999999" }),
  "an nbf in the future": (issuer) => issuer.sign({ nbf: Math.floor(Date.now() / 1000) + 300 }),
  "another iss": (issuer) => issuer.sign({ iss: `${issuer.issuer}/` }),
  "no iss": (issuer) => issuer.sign({ iss: undefined }),
  "another aud": (issuer) => issuer.sign({ aud: ["other-service"] }),
  "no aud": (issuer) => issuer.sign({ aud: undefined }),
  "no sub": (issuer) => issuer.sign({ sub: undefined }),
  "an empty sub": (issuer) => issuer.sign({ sub: "" }),
  "a sub that is a number": (issuer) => issuer.sign({ sub: 42 }),
  "a sub that is a list": (issuer) => issuer.sign({ sub: ["alice"] }),
  "no organization_id": (issuer) => issuer.sign({ organization_id: undefined }),
  "an organization_id that is an object": (issuer) => issuer.sign({ organization_id: { id: "acme" } }),
  "64 KB": (issuer) => issuer.sign({ padding: "x".repeat(48 * 1024) }),
  "one bit of its signature flipped": (issuer) =>
    alter(issuer, ({ headerText, payload, signature }) => {
      const bytes = Buffer.from(signature, "base64url");
      bytes.writeUInt8(bytes.readUInt8(0) ^ 1, 0);
      return [headerText, payload, bytes.toString("base64url")];
    }),
  "an altered payload": (issuer) =>
    alter(issuer, ({ headerText, payload, signature }) => {
      const claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as Claims;
      return [headerText, json({ ...claims, sub: "mallory" }), signature];
    }),
  "an ES256 signature in DER": (issuer) =>
    alter(issuer, ({ headerText, payload }) => {
      const key = KeyObject.from(issuer.key("ES256").privateKey);
      const signature = signBytes("sha256", Buffer.from(`${headerText}.${payload}`), { key, dsaEncoding: "der" });
      return [headerText, payload, signature.toString("base64url")];
    }),
  "a payload that is no object": (issuer) => signText(issuer, '["alice"]'),
  "a payload that is no JSON": (issuer) => signText(issuer, "alice"),
  "two parts": (issuer) => alter(issuer, ({ headerText, payload }) => [headerText, payload]),
  "four parts": (issuer) => alter(issuer, ({ headerText, payload, signature }) => [headerText, payload, signature, ""]),
  "a space before it": async (issuer) => ` ${await issuer.sign()}`,
  "a space after it": async (issuer) => `${await issuer.sign()} `,
  "a tab after it": async (issuer) => `${await issuer.sign()}\t`,
  "a line break after it": async (issuer) => `${await issuer.sign()}\n`,
  "spaces around its dots": async (issuer) => (await issuer.sign()).replaceAll(".", " . "),
  "a space within its signature": async (issuer) => (await issuer.sign()).replace(/(?=.{20}$)/, " "),
  padding: async (issuer) => `${await issuer.sign()}==`,
};

interface Parts {
  readonly header: Claims;
  readonly headerText: string;
  readonly payload: string;
  readonly signature: string;
}

function partsOf(token: string): Parts {
  const [headerText = "", payload = "", signature = ""] = token.split(".");
  return {
    header: JSON.parse(Buffer.from(headerText, "base64url").toString()) as Claims,
    headerText,
    payload,
    signature,
  };
}

async function alter(issuer: Issuer, change: (parts: Parts) => readonly string[]): Promise<string> {
  return change(partsOf(await issuer.sign())).join(".");
}

function json(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function signText(issuer: Issuer, text: string): Promise<string> {
  return alter(issuer, ({ headerText }) => {
    const payload = Buffer.from(text).toString("base64url");
    const key = KeyObject.from(issuer.key("ES256").privateKey);
    const input = Buffer.from(`${headerText}.${payload}`);
    return [headerText, payload, signBytes("sha256", input, { key, dsaEncoding: "ieee-p1363" }).toString("base64url")];
  });
}

/** Signed by a key that is not the issuer's, under the kid of one that is unless the header says otherwise. */
async function signByOther(issuer: Issuer, headerOf: (key: SigningKey) => Claims | Promise<Claims>): Promise<string> {
  const key = await generateKey("ES256");
  return issuer.sign({}, { key, header: { kid: issuer.key("ES256").kid, ...(await headerOf(key)) } });
}

/** How the server answers: with its keys, with status 500, never, with half a JSON text, with 2 MB, or elsewhere. */
export type Behaviour = "answer" | "fail" | "hang" | "garbage" | "huge" | "redirect";

export interface IssuerServer extends Issuer {
  /** Where it listens, which is its `iss` too. */
  readonly issuer: string;
  readonly jwksUrl: string;
  /** How many requests for this path there were: /jwks, /.well-known/openid-configuration, /elsewhere (redirected). */
  requests(path: string): number;
  behave(behaviour: Behaviour): void;
  stop(): Promise<void>;
}

/** An issuer with a server of its discovery document and keys on 127.0.0.1. */
export async function startIssuer(options: { audience?: string } = {}): Promise<IssuerServer> {
  const counts = new Map<string, number>();
  let behaviour: Behaviour = "answer";

  const documentAt = async (path: string) => {
    if (path === "/.well-known/openid-configuration") return { issuer: issuer.issuer, jwks_uri: jwksUrl };
    return path === "/jwks" || path === "/elsewhere" ? issuer.jwks() : undefined;
  };
  const answer = async ({ url: path = "" }: IncomingMessage, response: ServerResponse) => {
    counts.set(path, (counts.get(path) ?? 0) + 1);
    const document = await documentAt(path);
    response.setHeader("content-type", "application/json");
    if (document === undefined) response.writeHead(404).end();
    else if (behaviour === "answer" || path === "/elsewhere") response.end(JSON.stringify(document));
    else if (behaviour === "fail") response.writeHead(500).end();
    else if (behaviour === "garbage") response.end(JSON.stringify(document).slice(0, -10));
    // Right but for its size.
    else if (behaviour === "huge") response.end(JSON.stringify({ ...document, padding: "x".repeat(2 * 1024 * 1024) }));
    else if (behaviour === "redirect") response.writeHead(302, { location: "/elsewhere" }).end();
  };

  const server = createServer((request, response) => void answer(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const jwksUrl = `${url}/jwks`;
  const issuer = await createIssuer({ ...options, issuer: url });
  return {
    ...issuer,
    jwksUrl,
    requests: (path) => counts.get(path) ?? 0,
    behave: (next) => {
      behaviour = next;
    },
    stop: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}
