import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { parseStatements } from "../../src/shell/parser.js";
import { needsMoreInput, StatementSyntaxError } from "../../src/shell/scanner.js";

const ANY_TEXT = fc.string({
  unit: fc.oneof(fc.constantFrom(...Array.from("();,='\"-\n\0🦊\u{d800}aW")), fc.string({ unit: "binary" })),
});

describe("every statement is understood", () => {
  test.each([
    ["CREATE API_TOKEN t", { kind: "create", name: "t", role: undefined, expiresInDays: undefined }],
    [
      "CREATE API_TOKEN t WITH ('token.role_name' = Ops)",
      { kind: "create", name: "t", role: "ops", expiresInDays: undefined },
    ],
    [
      "CREATE API_TOKEN t WITH ('token.role_name' = \"Ops\")",
      { kind: "create", name: "t", role: "Ops", expiresInDays: undefined },
    ],
    [
      "CREATE API_TOKEN t WITH ('token.role_name' = 'it''s')",
      { kind: "create", name: "t", role: "it's", expiresInDays: undefined },
    ],
    [
      "create api_token t with('token.expires_in_days'=030,'token.role_name'=r)",
      { kind: "create", name: "t", role: "r", expiresInDays: 30 },
    ],
    ["LIST API_TOKENS", { kind: "list", expiringWithinDays: undefined }],
    ["LIST API_TOKENS EXPIRING WITHIN 30 DAYS", { kind: "list", expiringWithinDays: 30 }],
    ["list api_tokens\nexpiring -- soon\nwithin 036500 days", { kind: "list", expiringWithinDays: 36_500 }],
    ["LIST API_TOKEN_EVENTS", { kind: "events", name: undefined }],
    ["LIST API_TOKEN_EVENTS FOR t", { kind: "events", name: "t" }],
    ["list Api_Token_Events\n-- why\nfor My_Token", { kind: "events", name: "my_token" }],
    ['LIST API_TOKEN_EVENTS FOR"My ""Token"""', { kind: "events", name: 'My "Token"' }],
    ["LIST API_TOKEN_EVENTS FOR for", { kind: "events", name: "for" }],
    ["ALTER API_TOKEN t RENEW TOKEN", { kind: "renew", name: "t", gracePeriodHours: undefined }],
    [
      "ALTER API_TOKEN t RENEW TOKEN WITH ('token.grace_period_hours' = 24)",
      { kind: "renew", name: "t", gracePeriodHours: 24 },
    ],
    [
      "ALTER API_TOKEN t RENEW TOKEN WITH ('token.grace_period_hours' = 0)",
      { kind: "renew", name: "t", gracePeriodHours: 0 },
    ],
    ["DROP API_TOKEN t", { kind: "drop", name: "t" }],
    ["DESCRIBE API_TOKEN t", { kind: "describe", name: "t" }],
  ])("%s", (text, statement) => {
    expect(parseStatements(text)).toEqual([statement]);
    expect(parseStatements(`${text};`)).toEqual([statement]);
  });
});

test("keywords may be in any case and spread over lines", () => {
  expect(parseStatements("dRoP\r\n\tApI_tOkEn\n--why\nx;--end")).toEqual([{ kind: "drop", name: "x" }]);
});

test("an unquoted name folds to lower case, a quoted one keeps its letters", () => {
  expect(namesOf('DROP API_TOKEN My_Token$1; DROP API_TOKEN "My ""best"" Token"')).toEqual([
    "my_token$1",
    'My "best" Token',
  ]);
});

test("keywords can be names", () => {
  expect(namesOf("CREATE API_TOKEN with WITH ('token.role_name' = list); DROP API_TOKEN token")).toEqual([
    "with",
    "token",
  ]);
});

test("statement separators and comments inside quotes are part of the name", () => {
  expect(namesOf('DROP API_TOKEN "a;b--c\nd"')).toEqual(["a;b--c\nd"]);
});

test.each(["", " \n", ";", ";;; ;", "-- nothing", "-- nothing\n;"])("%j holds no statement", (text) => {
  expect(parseStatements(text)).toEqual([]);
});

const STATEMENTS = "CREATE, LIST, ALTER, DROP or DESCRIBE";
const LISTS = "API_TOKENS or API_TOKEN_EVENTS";
const DAYS = "a whole number from 1 to 3652500";
const DAYS_AHEAD = "a whole number from 1 to 36500";

describe("a fault is told with its place, what was found and what was expected", () => {
  test.each([
    ["SELECT 1", 1, 1, '"SELECT"', STATEMENTS],
    ["'LIST' API_TOKENS", 1, 1, "\"'LIST'\"", STATEMENTS],
    ["LIST API_TOKENS; 🦊", 1, 18, '"🦊"', STATEMENTS],
    ["-- 🦊\n /* x */", 2, 2, '"/"', STATEMENTS],
    ["LIST", 1, 5, "end of input", LISTS],
    ["LIST API_TOKEN", 1, 6, '"API_TOKEN"', LISTS],
    ['LIST "api_tokens"', 1, 6, '""api_tokens""', LISTS],
    ["LIST API_TOKENS FOR x", 1, 17, '"FOR"', 'EXPIRING, ";" or end of input'],
    ["LIST API_TOKENS EXPIRING", 1, 25, "end of input", "WITHIN"],
    ["LIST API_TOKENS EXPIRING IN 30 DAYS", 1, 26, '"IN"', "WITHIN"],
    ["LIST API_TOKENS EXPIRING WITHIN", 1, 32, "end of input", DAYS_AHEAD],
    ["LIST API_TOKENS EXPIRING WITHIN DAYS", 1, 33, '"DAYS"', DAYS_AHEAD],
    ["LIST API_TOKENS EXPIRING WITHIN 0 DAYS", 1, 33, '"0"', DAYS_AHEAD],
    ["LIST API_TOKENS EXPIRING WITHIN -1 DAYS", 1, 33, '"-"', DAYS_AHEAD],
    ["LIST API_TOKENS EXPIRING WITHIN 36501 DAYS", 1, 33, '"36501"', DAYS_AHEAD],
    ["LIST API_TOKENS EXPIRING WITHIN '7' DAYS", 1, 33, "\"'7'\"", DAYS_AHEAD],
    ["LIST API_TOKENS EXPIRING WITHIN 7d", 1, 33, '"7d"', DAYS_AHEAD],
    ["LIST API_TOKENS EXPIRING WITHIN 7", 1, 34, "end of input", "DAYS"],
    ["LIST API_TOKENS EXPIRING WITHIN 7 HOURS", 1, 35, '"HOURS"', "DAYS"],
    ["LIST API_TOKENS EXPIRING WITHIN 7 DAYS FOR x", 1, 40, '"FOR"', '";" or end of input'],
    ["LIST API_TOKEN_EVENTS x", 1, 23, '"x"', 'FOR, ";" or end of input'],
    ["LIST API_TOKEN_EVENTS\nLIST API_TOKENS", 2, 1, '"LIST"', 'FOR, ";" or end of input'],
    ["LIST API_TOKEN_EVENTS FOR", 1, 26, "end of input", "a token name"],
    ["LIST API_TOKEN_EVENTS FOR;", 1, 26, '";"', "a token name"],
    ["LIST API_TOKEN_EVENTS FOR 'x'", 1, 27, "\"'x'\"", "a token name"],
    ['LIST API_TOKEN_EVENTS FOR ""', 1, 27, '""""', "a token name"],
    ["LIST API_TOKEN_EVENTS FOR x, y", 1, 28, '","', '";" or end of input'],
    ["LIST API_TOKENS LIST API_TOKENS", 1, 17, '"LIST"', 'EXPIRING, ";" or end of input'],
    ["CREATE TOKEN x", 1, 8, '"TOKEN"', "API_TOKEN"],
    ["CREATE API_TOKEN", 1, 17, "end of input", "a token name"],
    ["CREATE API_TOKEN 'x'", 1, 18, "\"'x'\"", "a token name"],
    ["CREATE API_TOKEN 1x", 1, 18, '"1x"', "a token name"],
    ["CREATE API_TOKEN ;", 1, 18, '";"', "a token name"],
    ["CREATE API_TOKEN a-b", 1, 19, '"-"', 'WITH, ";" or end of input'],
    ["CREATE API_TOKEN x WITH", 1, 24, "end of input", '"("'],
    ["CREATE API_TOKEN x WITH ()", 1, 26, '")"', "'token.role_name' or 'token.expires_in_days'"],
    [
      "CREATE API_TOKEN x WITH ('token.ttl' = 1)",
      1,
      26,
      "\"'token.ttl'\"",
      "'token.role_name' or 'token.expires_in_days'",
    ],
    [
      "CREATE API_TOKEN x WITH ('__proto__' = 1)",
      1,
      26,
      "\"'__proto__'\"",
      "'token.role_name' or 'token.expires_in_days'",
    ],
    ["CREATE API_TOKEN x WITH ('token.role_name' r)", 1, 44, '"r"', '"="'],
    ["CREATE API_TOKEN x WITH ('token.role_name' = 5)", 1, 46, '"5"', "a role name"],
    ["CREATE API_TOKEN x WITH ('token.role_name' = '')", 1, 46, "\"''\"", "a role name"],
    ["CREATE API_TOKEN x WITH ('token.role_name' = r", 1, 47, "end of input", '"," or ")"'],
    ["CREATE API_TOKEN x WITH ('token.role_name' = r) x", 1, 49, '"x"', '";" or end of input'],
    [
      "CREATE API_TOKEN x WITH ('token.role_name' = r,\n 'token.role_name' = r)",
      2,
      2,
      "\"'token.role_name'\"",
      "each property only once",
    ],
    ["CREATE API_TOKEN x WITH ('token.expires_in_days' = 0)", 1, 52, '"0"', DAYS],
    ["CREATE API_TOKEN x WITH ('token.expires_in_days' = -1)", 1, 52, '"-"', DAYS],
    ["CREATE API_TOKEN x WITH ('token.expires_in_days' = 1.5)", 1, 52, '"1.5"', DAYS],
    ["CREATE API_TOKEN x WITH ('token.expires_in_days' = 30d)", 1, 52, '"30d"', DAYS],
    ["CREATE API_TOKEN x WITH ('token.expires_in_days' = '30')", 1, 52, "\"'30'\"", DAYS],
    ["CREATE API_TOKEN x WITH ('token.expires_in_days' = 3652501)", 1, 52, '"3652501"', DAYS],
    [`CREATE API_TOKEN x WITH ('token.expires_in_days' = ${"9".repeat(400)})`, 1, 52, `"${"9".repeat(20)}..."`, DAYS],
    ["ALTER API_TOKEN x DROP", 1, 19, '"DROP"', "RENEW"],
    ["ALTER API_TOKEN x RENEW", 1, 24, "end of input", "TOKEN"],
    ["ALTER API_TOKEN x RENEW TOKEN TOKEN", 1, 31, '"TOKEN"', 'WITH, ";" or end of input'],
    [
      "ALTER API_TOKEN x RENEW TOKEN WITH ('token.role_name' = r)",
      1,
      37,
      "\"'token.role_name'\"",
      "'token.grace_period_hours'",
    ],
    [
      "ALTER API_TOKEN x RENEW TOKEN WITH ('token.grace_period_hours' = 87660001)",
      1,
      66,
      '"87660001"',
      "a whole number from 0 to 87660000",
    ],
    ["DROP API_TOKEN a, b", 1, 17, '","', '";" or end of input'],
    ["DESCRIBE API_TOKEN", 1, 19, "end of input", "a token name"],
    ['DROP API_TOKEN "a""', 1, 20, "end of input", 'closing " for the one at line 1, column 16'],
    ["LIST API_TOKENS;\n'\n", 3, 1, "end of input", "closing ' for the one at line 2, column 1"],
    ["LIST \0", 1, 6, '"\\u{0}"', LISTS],
    ["LIST \u{d800}", 1, 6, '"\\u{d800}"', LISTS],
    ["LIST 'a\nb\u001b[2J'", 1, 6, "\"'a\\nb\\u{1b}[2J'\"", LISTS],
    [`LIST ${"long_".repeat(9)}`, 1, 6, '"long_long_long_long_..."', LISTS],
  ])("%j", (text, line, column, found, expected) => {
    const error = refusalOf(text);
    expect(error?.message).toBe(`syntax error at line ${line}, column ${column}: found ${found}, expected ${expected}`);
    expect(error).toMatchObject({ line, column });
  });
});

test("whatever the text, parsing ends in statements or in a syntax error with a place inside the text", () => {
  fc.assert(
    fc.property(
      ANY_TEXT,
      fc.constantFrom(
        "",
        "DROP API_TOKEN ",
        "CREATE API_TOKEN x WITH (",
        "LIST API_TOKENS;",
        "LIST API_TOKENS EXPIRING ",
        "LIST API_TOKEN_EVENTS ",
      ),
      (text, before) => {
        const error = refusalOf(before + text);
        if (error === undefined) return;
        const lines = (before + text).split("\n");
        expect(error.line).toBeLessThanOrEqual(lines.length);
        expect(error.column).toBeLessThanOrEqual(Array.from(lines[error.line - 1] ?? "").length + 1);
        expect(error.message).not.toMatch(/[\p{Cc}\p{Cs}]/u);
      },
    ),
    { numRuns: 2000 },
  );
});

test("quoting a name keeps it exactly", () => {
  fc.assert(
    fc.property(ANY_TEXT, (name) => {
      expect(namesOf(`DESCRIBE API_TOKEN "${name.replaceAll('"', '""')}";`)).toEqual([name]);
    }),
  );
});

test("quoting a role keeps it exactly", () => {
  fc.assert(
    fc.property(
      ANY_TEXT.filter((role) => role !== ""),
      (role) => {
        const text = `CREATE API_TOKEN x WITH ('token.role_name' = '${role.replaceAll("'", "''")}')`;
        expect(parseStatements(text)).toMatchObject([{ role }]);
      },
    ),
  );
});

describe("a megabyte of text is refused or parsed within seconds", () => {
  test.each([
    ["spaces", " "],
    ["separators", ";"],
    ["comments", "--\n"],
    ["one comment", "-"],
    ["a name", "a"],
    ["digits", "9"],
    ["quotes", '"'],
    ["apostrophes", "'"],
    ["line ends", "\n"],
    ["emoji", "🦊"],
    ["statements", "LIST API_TOKENS;"],
    ["an unfinished string", "' "],
  ])("%s", (_, piece) => {
    const text = piece.repeat(2 ** 20 / piece.length);
    const start = performance.now();
    refusalOf(text);
    refusalOf(`DROP API_TOKEN ${text}`);
    refusalOf(`CREATE API_TOKEN x WITH ('token.expires_in_days' = ${text}`);
    needsMoreInput(text);
    expect(performance.now() - start).toBeLessThan(5_000);
  });
});

test.each([
  ["", false],
  ["  -- comment;", false],
  ["LIST", true],
  ["LIST API_TOKENS", true],
  ["LIST API_TOKENS; -- done", false],
  ["LIST API_TOKENS; LIST", true],
  ["LIST -- API_TOKENS;", true],
  ['DROP API_TOKEN "a;', true],
  ["'it''s;", true],
  ["!;", false],
])("at a prompt %j needs more input: %s", (text, expected) => {
  expect(needsMoreInput(text)).toBe(expected);
});

function namesOf(text: string): (string | undefined)[] {
  return parseStatements(text).map((statement) => ("name" in statement ? statement.name : undefined));
}

/** The syntax error of a text, if it has one; any other error fails the test. */
function refusalOf(text: string): StatementSyntaxError | undefined {
  try {
    parseStatements(text);
    return undefined;
  } catch (error) {
    if (error instanceof StatementSyntaxError) return error;
    throw error;
  }
}
