// The secrets that a test has handed out, and the search for any piece of one in what a program has left behind.
// Knows nothing of where that is.

import { generateSecret } from "../../src/domain/token-string.js";

/** So many characters of a secret in a row, in any of its forms, are a leak. */
const PIECE_LENGTH = 16;
const TOKEN_SECRET_START = "apt_1".length + 28;

export class Secrets {
  /** The names of the secrets by their pieces. */
  readonly #nameOf = new Map<string, string>();
  readonly #names = new Set<string>();

  get names(): readonly string[] {
    return [...this.#names];
  }

  /** Looks for the secret from now on: as it is, and in hexadecimal, base64 and base64url at any offset. Returns it. */
  mark<Secret extends string | Buffer>(name: string, secret: Secret): Secret {
    const bytes = Buffer.from(secret as string, "latin1");
    if (bytes.length < PIECE_LENGTH) throw new Error(`${name} is too short to be told from other text`);
    this.#names.add(name);
    for (const form of formsOf(bytes)) {
      for (const piece of piecesOf(form)) if (!this.#nameOf.has(piece)) this.#nameOf.set(piece, name);
    }
    return secret;
  }

  /** A token string: all that follows its uid, which is public. */
  markToken(name: string, token: string): string {
    this.mark(name, token.slice(TOKEN_SECRET_START));
    return token;
  }

  /** A JWT: its payload and signature, where they are long enough to be any. The header is no secret. */
  markJwt(name: string, jwt: string): string {
    const [, payload = "", signature = ""] = jwt.split(".");
    if (payload.length >= PIECE_LENGTH) this.mark(`${name}: payload`, payload);
    if (signature.length >= PIECE_LENGTH) this.mark(`${name}: signature`, signature);
    return jwt;
  }

  /** A new request_id, with and without dashes and in either case. */
  requestId(name: string): string {
    const id = crypto.randomUUID();
    for (const form of [id, id.replaceAll("-", "")]) {
      this.mark(name, form);
      this.mark(name, form.toUpperCase());
    }
    return id;
  }

  /** A new text that stands for a secret. Random from its first character: hexadecimal has room for few of them in a piece. */
  text(name: string): string {
    return this.mark(name, generateSecret());
  }

  /** The names of the secrets of which a piece is in the text (bytes as Latin-1). */
  find(text: string): readonly string[] {
    const found = new Set<string>();
    for (const piece of piecesOf(text)) {
      const name = this.#nameOf.get(piece);
      if (name !== undefined) found.add(name);
    }
    return [...found].sort();
  }
}

/** Every way a secret is written, for a test that wants them all to be found. */
export function formsOf(secret: Buffer): readonly string[] {
  const base64 = [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), secret]).toString("base64");
    // What the bytes before and after it would change is left out.
    return text.slice(offset === 0 ? 0 : offset + 1, Math.floor((offset + secret.length) / 3) * 4);
  });
  const hex = secret.toString("hex");
  const base64url = base64.map((text) => text.replaceAll("+", "-").replaceAll("/", "_"));
  return [secret.toString("latin1"), hex, hex.toUpperCase(), ...base64, ...base64url];
}

function* piecesOf(text: string): Generator<string> {
  for (let at = 0; at + PIECE_LENGTH <= text.length; at += 1) yield text.slice(at, at + PIECE_LENGTH);
}
