import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { complete } from "../../src/shell/completion.js";
import { GRAMMAR, parseStatements } from "../../src/shell/parser.js";

const NAMES = ["backup", "deploy", "Deploy To Mars", 'say "hi"', "Über", "bell\u0007", "1st"];
const ALL_NAMES = ["backup", "deploy", '"Deploy To Mars"', '"say ""hi"""', '"1st"'];
const names = async () => NAMES;

describe("what is typed is completed to what the grammar expects there", () => {
  test.each([
    ["", ["CREATE", "LIST", "ALTER", "DROP", "DESCRIBE"]],
    ["d", ["drop", "describe"]],
    ["D", ["DROP", "DESCRIBE"]],
    ["De", ["DESCRIBE "]],
    ["list", ["list "]],
    ["x", []],
    ["LIST ", ["API_TOKENS", "API_TOKEN_EVENTS"]],
    ["LIST API_TOKENS", ["API_TOKENS "]],
    ["LIST API_TOKENS ", ["EXPIRING", ";"]],
    ["LIST API_TOKENS e", ["expiring "]],
    ["LIST API_TOKENS EXPIRING WITHIN ", []],
    ["LIST API_TOKENS EXPIRING WITHIN 3", []],
    ["LIST API_TOKENS EXPIRING WITHIN 30 ", ["DAYS "]],
    ["LIST API_TOKENS;l", ["list "]],
    ["LIST NONSENSE; L", []],
    ["LIST -- L", []],
    ["LIST -- why\napi_token_", ["api_token_events "]],
    ["CREATE API_TOKEN ", []],
    ["CREATE API_TOKEN x WITH ", ["("]],
    ["CREATE API_TOKEN x WITH (", ["'token.role_name'", "'token.expires_in_days'"]],
    ["CREATE API_TOKEN x WITH ('token.r", ["'token.role_name' "]],
    ["CREATE API_TOKEN x WITH ('token.role_name' ", ["= "]],
    ["CREATE API_TOKEN x WITH ('token.role_name' = ", []],
    ["DROP API_TOKEN ", ALL_NAMES],
    ["DROP API_TOKEN de", ["deploy", '"Deploy To Mars"']],
    ["DROP API_TOKEN BACK", ["backup "]],
    ['DROP API_TOKEN "', ['"backup"', '"deploy"', '"Deploy To Mars"', '"say ""hi"""', '"1st"']],
    ['DROP API_TOKEN "D', ['"Deploy To Mars" ']],
    ['DROP API_TOKEN "say ""', ['"say ""hi""" ']],
    ["DESCRIBE API_TOKEN u", []],
    ["LIST API_TOKEN_EVENTS FOR b", ["backup "]],
    ["ALTER API_TOKEN b", ["backup "]],
    ["ALTER API_TOKEN x ", ["RENEW "]],
    ["DROP API_TOKEN x ", [";"]],
  ])("%j", async (text, candidates) => {
    const completion = await complete(text, names);
    expect(completion.candidates).toEqual(candidates);
    expect(text.endsWith(completion.typed)).toBe(true);
  });
});

test("names are asked for only where one is expected", async () => {
  const refuse = () => Promise.reject(new Error("asked"));
  for (const text of ["", "LIST ", "CREATE API_TOKEN ", "create\tapi_token x"]) await complete(text, refuse);
  await expect(complete("DROP API_TOKEN ", refuse)).rejects.toThrow("asked");
});

test("Tab alone leads from each keyword of the grammar to the next", async () => {
  const words = (text: string) => text.replace(/[[\];]/g, "").replace(/ {2,}/g, " ");
  for (const statement of words(GRAMMAR).trim().split("\n")) {
    for (const { index } of statement.matchAll(/\b[A-Z_]{3,}/g)) {
      const typed = statement.slice(0, index + 2);
      const { candidates } = await complete(typed, async () => []);
      expect([typed, candidates.some((word) => statement.startsWith(word.trim(), index))]).toEqual([typed, true]);
    }
  }
});

test("whatever is typed, completion offers printable ASCII that goes on from it, and the name that it spells", async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: "binary" }), fc.string({ unit: "grapheme" }), async (typed, name) => {
      const { candidates } = await complete(`DROP API_TOKEN ${typed}`, async () => [name, `x${name}`]);
      for (const candidate of candidates) expect(candidate).toMatch(/^[ -~]+$/);
      const every = await complete("DROP API_TOKEN ", async () => [name]);
      const isAscii = /^[ -~]+$/.test(name);
      expect(every.candidates).toHaveLength(isAscii ? 1 : 0);
      if (isAscii) expect(parseStatements(`DROP API_TOKEN ${every.candidates[0]}`)).toEqual([{ kind: "drop", name }]);
    }),
  );
});
