// Cuts statement text into tokens, one at a time and in linear time, and says where a token stands.
// Must not know the grammar: which token may follow which is the parser's business.
import { escapeControls, shorten } from "./terminal-text.js";

const SYMBOLS = "(),=;";
const FOUND_LENGTH = 20;

/** A piece of statement text, from `offset` up to `end`. `other` is a character that no statement uses. */
export interface Token {
  readonly kind: "word" | "quoted" | "string" | "number" | "symbol" | "other" | "end";
  readonly value: string;
  readonly offset: number;
  readonly end: number;
}

/** The only error that scanning and parsing throw. Lines and columns count code points from 1. */
export class StatementSyntaxError extends Error {
  override readonly name = "StatementSyntaxError";
  readonly offset: number;
  readonly line: number;
  readonly column: number;
  /** All that could have stood there. */
  readonly expected: readonly string[];

  constructor(text: string, offset: number, found: string, expected: readonly string[]) {
    const { line, column } = positionAt(text, offset);
    super(`syntax error at line ${line}, column ${column}: found ${found}, expected ${enumerate(expected)}`);
    this.offset = offset;
    this.line = line;
    this.column = column;
    this.expected = expected;
  }
}

/** Text that ended inside quotes: at a prompt more lines may still complete it. */
export class UnterminatedQuoteError extends StatementSyntaxError {
  /** Where the quote stands that is never closed. */
  readonly openedAt: number;

  constructor(text: string, openedAt: number, expected: string) {
    super(text, text.length, "end of input", [expected]);
    this.openedAt = openedAt;
  }
}

/** The refusal of a token where something else was expected. */
export function unexpected(text: string, token: Token, expected: readonly string[]): StatementSyntaxError {
  const found = token.kind === "end" ? "end of input" : quoteSource(text.slice(token.offset, token.end));
  return new StatementSyntaxError(text, token.offset, found, expected);
}

/**
 * The first token at or after `offset`, past white space and comments; `end` at the end of the text.
 * Words come in lower case, quoted values without their quotes.
 * Throws UnterminatedQuoteError when the text ends inside quotes.
 */
export function nextToken(text: string, offset: number): Token {
  const start = skipBlanks(text, offset);
  const character = text.charAt(start);
  if (character === "") return { kind: "end", value: "", offset: start, end: start };
  if (character === '"') return { kind: "quoted", offset: start, ...readQuoted(text, start, '"') };
  if (character === "'") return { kind: "string", offset: start, ...readQuoted(text, start, "'") };
  if (isWordStart(character)) {
    const end = endOfRun(text, start, isWordPart);
    return { kind: "word", value: text.slice(start, end).toLowerCase(), offset: start, end };
  }
  if (isDigit(character)) {
    // Letters and dots are taken along, so that 1.5 and 90d are refused as a whole.
    const end = endOfRun(text, start, (part) => isWordPart(part) || part === ".");
    return { kind: "number", value: text.slice(start, end), offset: start, end };
  }
  if (SYMBOLS.includes(character)) return { kind: "symbol", value: character, offset: start, end: start + 1 };
  const value = String.fromCodePoint(text.codePointAt(start) ?? 0);
  return { kind: "other", value, offset: start, end: start + value.length };
}

/** Whether a prompt should wait for more lines: the text does not end with `;`, comments aside, or is inside quotes. */
export function needsMoreInput(text: string): boolean {
  let last = "";
  let offset = 0;
  try {
    for (;;) {
      const token = nextToken(text, offset);
      if (token.kind === "end") return last !== "" && last !== ";";
      last = token.kind === "symbol" ? token.value : token.kind;
      offset = token.end;
    }
  } catch (error) {
    if (error instanceof UnterminatedQuoteError) return true;
    throw error;
  }
}

function skipBlanks(text: string, offset: number): number {
  let at = offset;
  for (;;) {
    at = endOfRun(text, at, isBlank);
    if (!text.startsWith("--", at)) return at;
    const lineEnd = text.indexOf("\n", at);
    at = lineEnd === -1 ? text.length : lineEnd;
  }
}

function readQuoted(text: string, start: number, quote: string): { value: string; end: number } {
  let from = start + 1;
  for (;;) {
    const at = text.indexOf(quote, from);
    if (at === -1) throw unterminated(text, start, quote);
    if (text.charAt(at + 1) !== quote) {
      return { value: text.slice(start + 1, at).replaceAll(quote + quote, quote), end: at + 1 };
    }
    from = at + 2;
  }
}

function unterminated(text: string, start: number, quote: string): UnterminatedQuoteError {
  const { line, column } = positionAt(text, start);
  const expected = `closing ${quote} for the one at line ${line}, column ${column}`;
  return new UnterminatedQuoteError(text, start, expected);
}

function positionAt(text: string, offset: number): { line: number; column: number } {
  let line = 1;
  let column = 1;
  for (const character of text.slice(0, offset)) {
    if (character === "\n") {
      line += 1;
      column = 1;
    } else {
      column += 1;
    }
  }
  return { line, column };
}

/** `a`, `a or b`, `a, b or c`. */
function enumerate(items: readonly string[]): string {
  const last = items.at(-1) ?? "";
  return items.length < 2 ? last : `${items.slice(0, -1).join(", ")} or ${last}`;
}

function quoteSource(source: string): string {
  return `"${escapeControls(shorten(source, FOUND_LENGTH))}"`;
}

function endOfRun(text: string, start: number, belongs: (character: string) => boolean): number {
  let at = start;
  while (at < text.length && belongs(text.charAt(at))) at += 1;
  return at;
}

function isBlank(character: string): boolean {
  return character === " " || character === "\n" || /\s/.test(character);
}

function isDigit(character: string): boolean {
  return character >= "0" && character <= "9";
}

function isWordStart(character: string): boolean {
  return (character >= "a" && character <= "z") || (character >= "A" && character <= "Z") || character === "_";
}

function isWordPart(character: string): boolean {
  return isWordStart(character) || isDigit(character) || character === "$";
}
