// The issuer's public keys (RFC 7517), from a URL, by OpenID Connect discovery, or from a file. They are kept while the
// issuer is away, and asked for again when they have grown old or a token names a key that is not among them.
import { readFile } from "node:fs/promises";
import { createLocalJWKSet, errors, type JWTHeaderParameters, type JWTVerifyGetKey } from "jose";
import { ApiTokenError } from "../domain/errors.js";

/** Reads the key set from where it is; rejects when it cannot. */
export type KeySource = () => Promise<unknown>;

const FRESH_MS = 10 * 60_000;
const USABLE_MS = 3_600_000;
const MIN_INTERVAL_MS = 30_000;
const FETCH_TIMEOUT_MS = 5000;
const MAX_BYTES = 1 << 20;

type LocalKeys = ReturnType<typeof createLocalJWKSet>;

export class KeySet {
  readonly #source: KeySource;
  readonly #nowMs: () => number;
  readonly #warn: (text: string) => void;
  #keys: LocalKeys | undefined;
  #readAtMs = Number.NEGATIVE_INFINITY;
  #triedAtMs = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | undefined;

  /** `nowMs`: a steady clock. `warn` is told, without any content, when the keys cannot be read. */
  constructor(source: KeySource, options: { nowMs: () => number; warn: (text: string) => void }) {
    this.#source = source;
    this.#nowMs = options.nowMs;
    this.#warn = options.warn;
  }

  /** When the keys in use were read, by the clock given. */
  get readAtMs(): number {
    return this.#readAtMs;
  }

  /** Reads the keys before anybody needs them; whether there are any now. Never rejects: later calls try again. */
  async warm(): Promise<boolean> {
    await this.#read();
    return this.#keys !== undefined;
  }

  /** The key that a token's header names. Rejects with jose's errors, and with ISSUER_UNAVAILABLE without any keys. */
  async find(header: JWTHeaderParameters): Promise<Awaited<ReturnType<JWTVerifyGetKey>>> {
    const ageMs = this.#nowMs() - this.#readAtMs;
    const reading = ageMs > FRESH_MS ? this.#read() : undefined;
    // Old keys are good enough for a caller not to wait for new ones.
    if (ageMs > USABLE_MS) await reading;
    try {
      return await this.#usable()(header);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      await this.#read();
      return this.#usable()(header);
    }
  }

  #usable(): LocalKeys {
    const isUsable = this.#nowMs() - this.#readAtMs <= USABLE_MS;
    if (this.#keys === undefined || !isUsable) throw new ApiTokenError("ISSUER_UNAVAILABLE", { cause: "no keys" });
    return this.#keys;
  }

  /** One reading at a time, and at most one in 30 s, however many tokens ask for keys that do not exist. */
  #read(): Promise<void> {
    if (this.#reading === undefined && this.#nowMs() - this.#triedAtMs >= MIN_INTERVAL_MS) {
      this.#triedAtMs = this.#nowMs();
      this.#reading = this.#readOnce().finally(() => {
        this.#reading = undefined;
      });
    }
    return this.#reading ?? Promise.resolve();
  }

  async #readOnce(): Promise<void> {
    try {
      this.#keys = createLocalJWKSet((await this.#source()) as Parameters<typeof createLocalJWKSet>[0]);
      this.#readAtMs = this.#nowMs();
    } catch {
      this.#warn("the issuer's keys cannot be read");
    }
  }
}

export function keysFromFile(path: string): KeySource {
  return async () => JSON.parse(await readFile(path, "utf8"));
}

export function keysFromUrl(url: string): KeySource {
  return () => fetchJson(url);
}

/** OpenID Connect Discovery 1.0, section 4. */
export function keysByDiscovery(issuer: string): KeySource {
  return async () => {
    const document = await fetchJson(`${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`);
    const { issuer: named, jwks_uri: url } = document as { issuer?: unknown; jwks_uri?: unknown };
    if (named !== issuer || typeof url !== "string" || !isTrustworthy(url))
      throw new Error("not this issuer's document");
    return fetchJson(url);
  };
}

/** True for URLs whose answers nobody on the way can change. */
export function isTrustworthy(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname } = new URL(text);
  return protocol === "https:" || (protocol === "http:" && /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname));
}

async function fetchJson(url: string): Promise<unknown> {
  const signal = AbortSignal.timeout(FETCH_TIMEOUT_MS);
  const response = await fetch(url, { signal, redirect: "error", headers: { accept: "application/json" } });
  if (!response.ok || response.body === null) throw new Error("the answer is no document");
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body) {
    bytes += chunk.length;
    if (bytes > MAX_BYTES) throw new Error("the document is too large");
    chunks.push(chunk);
  }
  return JSON.parse(Buffer.concat(chunks).toString());
}
