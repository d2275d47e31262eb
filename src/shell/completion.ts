// Completes what is being typed at a prompt: the parser says what it expects there.
// Must not know the grammar, nor where names come from.
import { parseStatements, TOKEN_NAME } from "./parser.js";
import { nextToken, StatementSyntaxError, UnterminatedQuoteError } from "./scanner.js";

/** A character that no statement uses: where the parser refuses it, it tells all that could stand there. */
const PROBE = "\0";

/** What `typed`, the end of the text, may become. */
export interface Completion {
  readonly candidates: readonly string[];
  readonly typed: string;
}

/** `names` is asked for the names of tokens where one is expected. */
export async function complete(text: string, names: () => Promise<readonly string[]>): Promise<Completion> {
  const start = startOfLastToken(text);
  const before = text.slice(0, start);
  const typed = text.slice(start);
  const expected = expectedAfter(before);
  const isLowerCase = typed !== "" && typed === typed.toLowerCase();
  const words = expected.flatMap(literalOf).map((word) => (isLowerCase ? word.toLowerCase() : word));
  // A new token needs a name of its own.
  const isNamed = expected.includes(TOKEN_NAME) && !/\bcreate\s+api_token\s*$/i.test(before);
  const quotedNames = isNamed ? (await names()).flatMap((name) => spellings(name, typed)) : [];
  const candidates = [...words.filter((word) => startsWith(word, typed)), ...quotedNames];
  const [only] = candidates;
  return { candidates: candidates.length === 1 && only !== undefined ? [withSpace(only)] : candidates, typed };
}

/** Where the token begins at whose end the text ends; the end of the text when there is none, or it is a symbol. */
function startOfLastToken(text: string): number {
  try {
    for (let offset = 0; ; ) {
      const token = nextToken(text, offset);
      if (token.kind === "end") return text.length;
      if (token.end === text.length) return token.kind === "symbol" ? token.end : token.offset;
      offset = token.end;
    }
  } catch (error) {
    if (error instanceof UnterminatedQuoteError) return error.openedAt;
    throw error;
  }
}

/** Nothing where the text has a fault, or ends within a comment. */
function expectedAfter(text: string): readonly string[] {
  try {
    parseStatements(text + PROBE);
    return [];
  } catch (error) {
    if (!(error instanceof StatementSyntaxError)) throw error;
    return error.offset === text.length ? error.expected : [];
  }
}

/** The keyword, property or symbol that is expected; nothing for the description of a value. */
function literalOf(expected: string): string[] {
  const [literal] = /^(?:[A-Z_]+|'.*')$|(?<=^").(?="$)/.exec(expected) ?? [];
  return literal === undefined ? [] : [literal];
}

/** The name as a statement has to spell it, if that goes on from what is typed. A terminal may show printable ASCII. */
function spellings(name: string, typed: string): string[] {
  if (!/^[ -~]+$/.test(name)) return [];
  const quoted = `"${name.replaceAll('"', '""')}"`;
  if (typed.startsWith('"')) return quoted.startsWith(typed) ? [quoted] : [];
  const isPlain = /^[a-z_][a-z0-9_$]*$/.test(name);
  return startsWith(name, typed) ? [isPlain ? name : quoted] : [];
}

function startsWith(text: string, typed: string): boolean {
  return text.toLowerCase().startsWith(typed.toLowerCase());
}

function withSpace(text: string): string {
  return /^[;(]$/.test(text) ? text : `${text} `;
}
