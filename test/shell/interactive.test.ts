import { PassThrough } from "node:stream";
import { text as readAll } from "node:stream/consumers";
import { expect, test } from "@jest/globals";
import { runInteractive } from "../../src/shell/interactive.js";
import { GRAMMAR, parseStatements } from "../../src/shell/parser.js";

const PROMPT = "<no-db>/<no-store># ";
const CONTINUATION = "                 -> ";
const CTRL_C = "\u0003";
const CTRL_D = "\u0004";

test("a statement runs when its line ends in a semicolon", async () => {
  const { entered, output } = await converse("LIST API_TOKENS;\n");
  expect(entered).toEqual(["LIST API_TOKENS;"]);
  expect(output).toContain(PROMPT);
});

test("a statement may take several lines, at a continuation prompt as wide as the first", async () => {
  const { entered, output } = await converse("LIST -- ;\n", "\n", "API_TOKENS\n", ";\n");
  expect(entered).toEqual(["LIST -- ;\n\nAPI_TOKENS\n;"]);
  expect(output).toContain(CONTINUATION);
  expect(CONTINUATION).toHaveLength(PROMPT.length);
});

test("a semicolon inside quotes does not end a statement", async () => {
  const { entered } = await converse('DROP API_TOKEN "a;\n', 'b";\n');
  expect(entered).toEqual(['DROP API_TOKEN "a;\nb";']);
});

test("pasted lines run one after the other, in their order", async () => {
  let running = 0;
  const { entered } = await converse("LIST 1;\nLIST 2;\nLIST 3;\n", async () => {
    running += 1;
    expect(running).toBe(1);
    await new Promise(setImmediate);
    running -= 1;
  });
  expect(entered).toEqual(["LIST 1;", "LIST 2;", "LIST 3;"]);
});

test("Ctrl-C drops the lines entered so far and the one being typed", async () => {
  const { entered } = await converse('DROP API_TOKEN "x;\n', `half${CTRL_C}`, "LIST API_TOKENS;\n");
  expect(entered).toEqual(["LIST API_TOKENS;"]);
});

test.each(["\\q\n", "quit;\n", "EXIT\n", CTRL_D])("%j ends the session", async (ending) => {
  const { entered } = await converse(ending, "LIST API_TOKENS;\n");
  expect(entered).toEqual([]);
});

test.each(["help\n", "HELP;\n", "\\?\n"])("%j shows the statements and runs nothing", async (line) => {
  const { entered, output } = await converse(line);
  expect(entered).toEqual([]);
  expect(output).toContain(GRAMMAR);
});

test("empty lines and comments run nothing and leave the first prompt", async () => {
  const { entered, output } = await converse("\n", "  \n", "-- don't\n", ";\n");
  expect(entered.flatMap(parseStatements)).toEqual([]);
  expect(output).not.toContain(CONTINUATION);
});

test("the session ends with the error that running a statement throws", async () => {
  const failure = new Error("stdout is closed");
  await expect(converse("LIST API_TOKENS;\n", () => Promise.reject(failure))).rejects.toBe(failure);
});

type Run = (text: string) => Promise<void>;

/** Types the given keys, then Ctrl-D, and tells what was run and shown. */
async function converse(...script: (string | Run)[]): Promise<{ entered: string[]; output: string }> {
  const input = new PassThrough();
  const output = new PassThrough();
  const shown = readAll(output);
  const entered: string[] = [];
  const session = runInteractive({ input, output }, async (text) => {
    entered.push(text);
    for (const step of script) if (typeof step !== "string") await step(text);
  });
  await Promise.all([session, type(input, script)]);
  output.end();
  return { entered, output: await shown };
}

async function type(input: PassThrough, script: readonly (string | Run)[]): Promise<void> {
  for (const keys of [...script, CTRL_D]) {
    if (typeof keys === "string") input.write(keys);
    // A user types on when the prompt is back: by the next turn all that the line has set off is done.
    await new Promise(setImmediate);
  }
}
