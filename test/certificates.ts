// Certificate authorities and certificates of a test's own, good and bad ones: ECDSA P-256, made on Web Crypto alone.
import type { webcrypto } from "node:crypto";

// The types of @peculiar/x509 count on the DOM's library, which would bring the browser's globals into every file.
declare global {
  type Algorithm = webcrypto.Algorithm;
  type AlgorithmIdentifier = webcrypto.AlgorithmIdentifier;
  type BufferSource = webcrypto.BufferSource;
  type Crypto = webcrypto.Crypto;
  type CryptoKey = webcrypto.CryptoKey;
  type CryptoKeyPair = webcrypto.CryptoKeyPair;
  type EcKeyGenParams = webcrypto.EcKeyGenParams;
  type EcKeyImportParams = webcrypto.EcKeyImportParams;
  type EcdsaParams = webcrypto.EcdsaParams;
  type KeyUsage = webcrypto.KeyUsage;
  type RsaHashedImportParams = webcrypto.RsaHashedImportParams;
}

// It does not load without a polyfill of decorator metadata, but reads none: these two are all that it calls.
Object.assign(Reflect, { getMetadata: () => undefined, getOwnMetadata: () => undefined });
const x509 = await import("@peculiar/x509");

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const HOUR_MS = 3_600_000;
const LIFETIME_MS = 30 * 24 * HOUR_MS;

export interface CertificateOptions {
  readonly commonName: string;
  readonly usage: "server" | "client";
  /** Subject alternative names, in this order; URIs may be any Latin-1 text. Without any the extension is left out. */
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
  readonly uris?: readonly string[];
  /** An hour ago by default. */
  readonly notBefore?: Date;
  /** In 30 days by default. */
  readonly notAfter?: Date;
}

/** What a TLS peer presents: a certificate and its key (PKCS #8). */
export interface Certificate {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
}

export interface Authority {
  readonly certificatePem: string;
  issue(options: CertificateOptions): Promise<Certificate>;
}

/** A root authority. Its key stays in memory: two of the same name do not vouch for each other's certificates. */
export async function createAuthority(name: string): Promise<Authority> {
  const keys = await generateKeys();
  const authority = { name, keys };
  const { BasicConstraintsExtension, KeyUsageFlags, KeyUsagesExtension } = x509;
  const certificatePem = await signCertificate({ commonName: name }, keys, authority, [
    new BasicConstraintsExtension(true, 0, true),
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
  ]);
  return {
    certificatePem,
    issue: async (options) => issueTo(await generateKeys(), options, authority),
  };
}

/** A certificate that nobody vouches for but itself. */
export async function selfSigned(options: CertificateOptions): Promise<Certificate> {
  const keys = await generateKeys();
  return issueTo(keys, options, { name: options.commonName, keys });
}

interface Signer {
  readonly name: string;
  readonly keys: CryptoKeyPair;
}

function generateKeys(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

async function issueTo(keys: CryptoKeyPair, options: CertificateOptions, signer: Signer): Promise<Certificate> {
  const { dnsNames = [], ipAddresses = [], uris = [], usage } = options;
  const { BasicConstraintsExtension, ExtendedKeyUsage, ExtendedKeyUsageExtension } = x509;
  const { KeyUsageFlags, KeyUsagesExtension, SubjectAlternativeNameExtension } = x509;
  const names = [
    ...dnsNames.map((value) => ({ type: "dns" as const, value })),
    ...ipAddresses.map((value) => ({ type: "ip" as const, value })),
    ...uris.map((value) => ({ type: "url" as const, value })),
  ];
  const certificatePem = await signCertificate(options, keys, signer, [
    new BasicConstraintsExtension(false, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    new ExtendedKeyUsageExtension([usage === "server" ? ExtendedKeyUsage.serverAuth : ExtendedKeyUsage.clientAuth]),
    ...(names.length > 0 ? [new SubjectAlternativeNameExtension(names)] : []),
  ]);
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return { certificatePem, privateKeyPem: `${x509.PemConverter.encode(pkcs8, "PRIVATE KEY")}\n` };
}

async function signCertificate(
  { commonName, notBefore, notAfter }: Pick<CertificateOptions, "commonName" | "notBefore" | "notAfter">,
  keys: CryptoKeyPair,
  signer: Signer,
  extensions: InstanceType<typeof x509.Extension>[],
): Promise<string> {
  const certificate = await x509.X509CertificateGenerator.create({
    subject: [{ CN: [commonName] }],
    issuer: [{ CN: [signer.name] }],
    notBefore: notBefore ?? new Date(Date.now() - HOUR_MS),
    notAfter: notAfter ?? new Date(Date.now() + LIFETIME_MS),
    publicKey: keys.publicKey,
    signingKey: signer.keys.privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      ...extensions,
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(signer.keys.publicKey),
    ],
  });
  return `${certificate.toString("pem")}\n`;
}
