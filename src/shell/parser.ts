// Turns statement text into statements, one function per statement.
// Must not know how a statement is carried out, nor the server's limits on names and lifetimes.
import { Cursor } from "./cursor.js";

// google.protobuf.Duration ends at 10,000 years of 365.25 days.
const MAX_DAYS = 3_652_500;
const MAX_HOURS = MAX_DAYS * 24;
// google.protobuf.Timestamp ends with the year 9999.
const MAX_DAYS_AHEAD = 36_500;

/** All statements, for people. A test holds that they are these. */
export const GRAMMAR = `\
CREATE API_TOKEN name [WITH ('token.role_name' = role, 'token.expires_in_days' = 30)];
LIST API_TOKENS [EXPIRING WITHIN 30 DAYS];
LIST API_TOKEN_EVENTS [FOR name];
ALTER API_TOKEN name RENEW TOKEN [WITH ('token.grace_period_hours' = 24)];
DROP API_TOKEN name;
DESCRIBE API_TOKEN name;
`;

const END = ['";"', "end of input"];
/** What is expected where a token is named. */
export const TOKEN_NAME = "a token name";

export interface CreateStatement {
  readonly kind: "create";
  readonly name: string;
  readonly role: string | undefined;
  readonly expiresInDays: number | undefined;
}

export interface RenewStatement {
  readonly kind: "renew";
  readonly name: string;
  readonly gracePeriodHours: number | undefined;
}

export interface NamedStatement {
  readonly kind: "drop" | "describe";
  readonly name: string;
}

/** Without a number of days it is about every token. */
export interface ListStatement {
  readonly kind: "list";
  readonly expiringWithinDays: number | undefined;
}

/** Without a name it is about every token. */
export interface EventsStatement {
  readonly kind: "events";
  readonly name: string | undefined;
}

export type Statement = CreateStatement | RenewStatement | NamedStatement | ListStatement | EventsStatement;

/**
 * All statements of a text, separated by `;` (the last one may be missing; empty statements are skipped).
 * Throws StatementSyntaxError at the first fault, and nothing else, whatever the text.
 */
export function parseStatements(text: string): Statement[] {
  const cursor = new Cursor(text);
  const statements: Statement[] = [];
  while (cursor.token.kind !== "end") {
    if (cursor.takeSymbol(";")) continue;
    statements.push(parseStatement(cursor));
  }
  return statements;
}

function parseStatement(cursor: Cursor): Statement {
  if (cursor.takeWord("create")) return parseCreate(cursor);
  if (cursor.takeWord("list")) return parseList(cursor);
  if (cursor.takeWord("alter")) return parseAlter(cursor);
  if (cursor.takeWord("drop")) return parseNamed(cursor, "drop");
  if (cursor.takeWord("describe")) return parseNamed(cursor, "describe");
  throw cursor.refuse("CREATE", "LIST", "ALTER", "DROP", "DESCRIBE");
}

function parseCreate(cursor: Cursor): CreateStatement {
  cursor.expectWord("API_TOKEN");
  const name = parseName(cursor);
  let role: string | undefined;
  let expiresInDays: number | undefined;
  parseEndOrProperties(cursor, {
    "token.role_name": () => {
      role = parseRole(cursor);
    },
    "token.expires_in_days": () => {
      expiresInDays = parseWholeNumber(cursor, 1, MAX_DAYS);
    },
  });
  return { kind: "create", name, role, expiresInDays };
}

function parseList(cursor: Cursor): ListStatement | EventsStatement {
  if (cursor.takeWord("api_token_events")) return parseEvents(cursor);
  if (!cursor.takeWord("api_tokens")) throw cursor.refuse("API_TOKENS", "API_TOKEN_EVENTS");
  if (!cursor.takeWord("expiring")) {
    cursor.expectStatementEnd("EXPIRING", ...END);
    return { kind: "list", expiringWithinDays: undefined };
  }
  cursor.expectWord("WITHIN");
  const expiringWithinDays = parseWholeNumber(cursor, 1, MAX_DAYS_AHEAD);
  cursor.expectWord("DAYS");
  cursor.expectStatementEnd(...END);
  return { kind: "list", expiringWithinDays };
}

function parseEvents(cursor: Cursor): EventsStatement {
  if (!cursor.takeWord("for")) {
    cursor.expectStatementEnd("FOR", ...END);
    return { kind: "events", name: undefined };
  }
  // An empty name would reach the server as "every token", the opposite of a restriction.
  if (cursor.token.value === "") throw cursor.refuse(TOKEN_NAME);
  const name = parseName(cursor);
  cursor.expectStatementEnd(...END);
  return { kind: "events", name };
}

function parseAlter(cursor: Cursor): RenewStatement {
  cursor.expectWord("API_TOKEN");
  const name = parseName(cursor);
  cursor.expectWord("RENEW");
  cursor.expectWord("TOKEN");
  let gracePeriodHours: number | undefined;
  parseEndOrProperties(cursor, {
    "token.grace_period_hours": () => {
      gracePeriodHours = parseWholeNumber(cursor, 0, MAX_HOURS);
    },
  });
  return { kind: "renew", name, gracePeriodHours };
}

function parseNamed(cursor: Cursor, kind: NamedStatement["kind"]): NamedStatement {
  cursor.expectWord("API_TOKEN");
  const name = parseName(cursor);
  cursor.expectStatementEnd(...END);
  return { kind, name };
}

function parseName(cursor: Cursor): string {
  const { kind, value } = cursor.token;
  if (kind !== "word" && kind !== "quoted") throw cursor.refuse(TOKEN_NAME);
  cursor.advance();
  return value;
}

/** `[WITH ('property' = value, ...)]` up to the end of the statement; each property at most once. */
function parseEndOrProperties(cursor: Cursor, parseValueOf: Readonly<Record<string, () => void>>): void {
  if (!cursor.takeWord("with")) {
    cursor.expectStatementEnd("WITH", ...END);
    return;
  }
  const remaining = new Map(Object.entries(parseValueOf));
  cursor.expectSymbol("(");
  do {
    const { kind, value } = cursor.token;
    if (kind !== "string" || !Object.hasOwn(parseValueOf, value)) throw cursor.refuse(...propertyNames(parseValueOf));
    const parseValue = remaining.get(value);
    if (parseValue === undefined) throw cursor.refuse("each property only once");
    remaining.delete(value);
    cursor.advance();
    cursor.expectSymbol("=");
    parseValue();
  } while (cursor.takeSymbol(","));
  if (!cursor.takeSymbol(")")) throw cursor.refuse('","', '")"');
  cursor.expectStatementEnd(...END);
}

function propertyNames(properties: Readonly<Record<string, unknown>>): string[] {
  return Object.keys(properties).map((name) => `'${name}'`);
}

function parseRole(cursor: Cursor): string {
  const { kind, value } = cursor.token;
  const isName = kind === "word" || kind === "quoted" || kind === "string";
  // An empty role would reach the server as "all roles of the caller", the opposite of a restriction.
  if (!isName || value === "") throw cursor.refuse("a role name");
  cursor.advance();
  return value;
}

function parseWholeNumber(cursor: Cursor, least: number, most: number): number {
  const { kind, value } = cursor.token;
  const number = kind === "number" && /^[0-9]+$/.test(value) ? Number(value) : Number.NaN;
  if (!(number >= least && number <= most)) throw cursor.refuse(`a whole number from ${least} to ${most}`);
  cursor.advance();
  return number;
}
