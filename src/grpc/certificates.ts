// Server certificates that are read again from their files. What a deployment writes piece by piece does not take the
// server down: a pair that does not fit, or a file that cannot be read, leaves the last good ones in use.
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { experimental, ServerCredentials } from "@grpc/grpc-js";
import type { Logger } from "pino";

/** The files, all PEM. With `clientCaFile` clients must present a certificate that it signed. */
export interface CertificateFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly clientCaFile: string | undefined;
}

interface Certificates {
  readonly certificate: Buffer;
  readonly privateKey: Buffer;
  readonly clientCa: Buffer | undefined;
}

const REREAD_INTERVAL_MS = 5000;

/** Credentials for a listener: TLS that follows the files, plaintext without. Throws when the files are no good now. */
export function serverCredentials(files: CertificateFiles | undefined, log: Logger): ServerCredentials {
  if (files === undefined) return ServerCredentials.createInsecure();
  const source = new CertificateSource(files, log);
  const authorities = files.clientCaFile === undefined ? null : source;
  // Its parameters are misnamed in grpc-js's types: identity first, then authorities.
  return experimental.createCertificateProviderServerCredentials(source, authorities, authorities !== null);
}

/** Reads the files while somebody listens, and tells of a change only when all of them are good together. */
class CertificateSource implements experimental.CertificateProvider {
  readonly #files: CertificateFiles;
  readonly #log: Logger;
  readonly #identityListeners = new Set<experimental.IdentityCertificateUpdateListener>();
  readonly #caListeners = new Set<experimental.CaCertificateUpdateListener>();
  #current: Certificates;
  #timer: NodeJS.Timeout | undefined;
  #wasGood = true;

  constructor(files: CertificateFiles, log: Logger) {
    this.#files = files;
    this.#log = log;
    this.#current = readCertificates(files);
  }

  // grpc-js takes a first answer only after it has added the listener.
  addIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
    this.#identityListeners.add(listener);
    process.nextTick(() => this.#tell());
    this.#timer ??= setInterval(() => this.#reread(), REREAD_INTERVAL_MS).unref();
  }

  removeIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
    this.#identityListeners.delete(listener);
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  addCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.#caListeners.add(listener);
  }

  removeCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.#caListeners.delete(listener);
  }

  #reread(): void {
    try {
      const read = readCertificates(this.#files);
      if (!isSame(read, this.#current)) {
        this.#current = read;
        this.#tell();
        this.#log.info("the TLS certificates were replaced");
      }
      this.#wasGood = true;
    } catch (error) {
      // Node's words for what is wrong with a file: its path where it cannot be read, never its content.
      const cause = error instanceof Error ? error.message : "unknown";
      if (this.#wasGood)
        this.#log.warn({ cause }, "the TLS files cannot be used as they are now; the last good ones stay in use");
      this.#wasGood = false;
    }
  }

  #tell(): void {
    const { certificate, privateKey, clientCa } = this.#current;
    if (clientCa !== undefined) for (const listener of this.#caListeners) listener({ caCertificate: clientCa });
    for (const listener of this.#identityListeners) listener({ certificate, privateKey });
  }
}

/** Throws when a file cannot be read, is not PEM, or the key is not the certificate's. */
function readCertificates({ certFile, keyFile, clientCaFile }: CertificateFiles): Certificates {
  const certificate = readFileSync(certFile);
  const privateKey = readFileSync(keyFile);
  const clientCa = clientCaFile === undefined ? undefined : readFileSync(clientCaFile);
  for (const pem of [certificate, clientCa ?? certificate]) checkCertificates(pem.toString("latin1"));
  createSecureContext({ cert: certificate, key: privateKey, ...(clientCa && { ca: clientCa }) });
  return { certificate, privateKey, clientCa };
}

/** OpenSSL takes what it can read of a file of several certificates, and says nothing of the rest. */
function checkCertificates(pem: string): void {
  const certificates = pem.split(/(?=-----BEGIN )/).filter((part) => part.startsWith("-----BEGIN "));
  if (certificates.length === 0) throw new Error("a file holds no certificate");
  for (const certificate of certificates) new X509Certificate(certificate);
}

function isSame(a: Certificates, b: Certificates): boolean {
  const isSameCa = a.clientCa === undefined || b.clientCa === undefined || a.clientCa.equals(b.clientCa);
  return isSameCa && a.certificate.equals(b.certificate) && a.privateKey.equals(b.privateKey);
}
