import { chmod, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { History, historyFile } from "../../src/shell/history.js";
import { temporaryFolder } from "../harness.js";

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let file: string;
beforeEach(async () => {
  folder = await temporaryFolder();
  file = join(folder.path, "state", "apitoken", "history");
});
afterEach(() => folder.remove());

test("lines are kept in their order, for the next session, in a file and a folder of their owner's", async () => {
  const history = new History(file);
  expect(history.read()).toEqual([]);
  for (const line of ["LIST", "API_TOKENS;", "API_TOKENS;", "LIST"]) history.add(line);
  expect(new History(file).read()).toEqual(["LIST", "API_TOKENS;", "LIST"]);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect((await stat(dirname(file))).mode & 0o777).toBe(0o700);
  expect(await readdir(dirname(file))).toEqual(["history"]);
});

test("sessions side by side add to one file", () => {
  const [one, other] = [new History(file), new History(file)];
  one.add("first");
  other.add("second");
  one.add("third");
  expect(other.read()).toEqual(["first", "second", "third"]);
});

test("the file holds the latest 1,000 lines, and gets its mode back", async () => {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, Array.from({ length: 3000 }, (_, i) => `line ${i}\n`).join(""));
  await chmod(file, 0o644);
  new History(file).add("the last");
  const lines = (await readFile(file, "utf8")).trimEnd().split("\n");
  expect([lines.length, lines[0], lines.at(-1)]).toEqual([1000, "line 2001", "the last"]);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
});

const JWT = `eyJhbGciOiJFUzI1NiJ9.${"eyJzdWIiOiJhbGljZSJ9"}.${"x".repeat(40)}`;
test.each([
  ["a token", `DROP API_TOKEN apt_1LDfrXxYqqA0MN19JaCTWrAeEVr0y0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg2wyZMH;`],
  ["a token alone", "apt_1LDfrXxYqqA0MN19JaCTWrAeEVr0y0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg2wyZMH"],
  ["half a token", '"XxYqqA0MN19JaCTWrAeEVr0y0123456789ABCDEFGHIJKL'],
  ["a JWT", `Bearer ${JWT}`],
  ["a key in base64", "qL3m/8+Zk1Wc0yJmT4vX2bN6hR9sD5fG7aPuEoIxYtM="],
  ["an escape sequence", "LIST \u001b[2J"],
  ["a line break", "LIST\rAPI_TOKENS"],
  ["a right-to-left override", "LIST \u202e"],
  ["nothing", "  "],
  ["a very long line", "a ".repeat(501)],
])("%s is not kept, and not read from a file that has it", async (_, line) => {
  new History(file).add("LIST API_TOKENS;");
  new History(file).add(line);
  expect(await readFile(file, "utf8")).toBe("LIST API_TOKENS;\n");
  await writeFile(file, `${line}\nLIST API_TOKENS;\n`);
  expect(new History(file).read().filter((kept) => kept !== "API_TOKENS" && kept !== "LIST")).toEqual([
    "LIST API_TOKENS;",
  ]);
});

test("the longest line of an ordinary statement is kept", () => {
  const line = `CREATE API_TOKEN "${"Deploy ".repeat(18)}" WITH ('token.role_name' = reader, 'token.expires_in_days' = 30);`;
  new History(file).add(line);
  expect(new History(file).read()).toEqual([line]);
});

test("what cannot be written or read disturbs nobody", async () => {
  await writeFile(join(folder.path, "state"), "a file in the way");
  const history = new History(file);
  history.add("LIST API_TOKENS;");
  expect(history.read()).toEqual([]);
  new History(undefined).add("LIST API_TOKENS;");
  expect(new History(undefined).read()).toEqual([]);
});

test.each([
  [{ HOME: "/home/ada" }, "/home/ada/.local/state/apitoken/history"],
  [{ HOME: "/home/ada", XDG_STATE_HOME: "/state" }, "/state/apitoken/history"],
  [{ HOME: "/home/ada", XDG_STATE_HOME: "state" }, "/home/ada/.local/state/apitoken/history"],
  [{ HOME: "/home/ada", XDG_STATE_HOME: "" }, "/home/ada/.local/state/apitoken/history"],
  [{ HOME: "/home/ada", APITOKEN_HISTORY: "/tmp/h" }, "/tmp/h"],
  [{ HOME: "/home/ada", APITOKEN_HISTORY: "" }, undefined],
])("with %j the file is %s", (env, expected) => {
  expect(historyFile(env)).toBe(expected);
});
