// Walks through the tokens of statement text: what comes next, what must come next, and the refusal when it does not.
// Must not know which statements there are.
import { nextToken, type Token, unexpected } from "./scanner.js";

/**
 * The place in the text that parsing has reached: `token` is the next one, not taken yet.
 * What is expected and missing, and a quote that is never closed, is a StatementSyntaxError.
 */
export class Cursor {
  readonly #text: string;
  #token: Token;

  constructor(text: string) {
    this.#text = text;
    this.#token = nextToken(text, 0);
  }

  get token(): Token {
    return this.#token;
  }

  advance(): void {
    this.#token = nextToken(this.#text, this.#token.end);
  }

  takeWord(word: string): boolean {
    return this.#take("word", word);
  }

  takeSymbol(symbol: string): boolean {
    return this.#take("symbol", symbol);
  }

  expectWord(keyword: string): void {
    if (!this.takeWord(keyword.toLowerCase())) throw this.refuse(keyword);
  }

  expectSymbol(symbol: string): void {
    if (!this.takeSymbol(symbol)) throw this.refuse(`"${symbol}"`);
  }

  expectStatementEnd(...expected: readonly string[]): void {
    if (this.#token.kind !== "end" && !this.takeSymbol(";")) throw this.refuse(...expected);
  }

  /** `expected`: all that could stand here. */
  refuse(...expected: readonly string[]): Error {
    return unexpected(this.#text, this.#token, expected);
  }

  #take(kind: Token["kind"], value: string): boolean {
    if (this.#token.kind !== kind || this.#token.value !== value) return false;
    this.advance();
    return true;
  }
}
