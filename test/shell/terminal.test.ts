// The shell at a terminal: what Tab, the arrows, Ctrl-C and colours do, pressed and seen in a pseudo-terminal.
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { type Service, startService, temporaryFolder } from "../harness.js";
import { legible, Terminal } from "./terminal.js";

const TAB = "\t";
const UP = "\u001b[A";
const CTRL_C = "\u0003";
const BOLD_NAME = "␛[1m Name␛[22m";
const RED_ERROR = "␛[31mERROR␛[39m";
const COLOURS = /␛\[(?:1|22|31|33|39)m/;
const TOKEN = `apt_${"0123456789".repeat(7)}01234567`;

let service: Service;
let home: Awaited<ReturnType<typeof temporaryFolder>>;
let terminals: Terminal[];
beforeAll(async () => {
  service = await startService();
});
beforeEach(async () => {
  await service.redis.client.flushall();
  home = await temporaryFolder();
  terminals = [];
});
afterEach(async () => {
  for (const terminal of terminals) terminal.close();
  await home.remove();
});
afterAll(() => service.stop());

function open(args: readonly string[] = [], env: Readonly<Record<string, string>> = {}): Terminal {
  const terminal = new Terminal(["--server", service.address, ...args], {
    XDG_STATE_HOME: home.path,
    ...env,
  });
  terminals.push(terminal);
  return terminal;
}

async function leave(terminal: Terminal): Promise<void> {
  await terminal.atPrompt();
  terminal.type("\\q\r");
  expect(await terminal.ended).toMatchObject({ exitCode: 0 });
}

const historyOf = () => readFile(join(home.path, "apitoken", "history"), "utf8");

test("Tab completes keywords and the names of the caller's tokens, with quotes where they are needed", async () => {
  for (const name of ["backup", "backup_all", "Deploy To Mars"]) await service.tokens.createToken({ name });
  const terminal = open();
  await terminal.atPrompt();
  await terminal.complete("LI", "LIST ");
  await terminal.complete("API_TOKENS EXP", "LIST API_TOKENS EXPIRING ");
  terminal.type(CTRL_C);
  await terminal.atPrompt();
  await terminal.complete("describe api", "describe api_token ");
  await terminal.complete("backup_", "describe api_token backup_all ");
  await terminal.complete("", "describe api_token backup_all ;");
  terminal.type(CTRL_C);
  await terminal.atPrompt();
  await terminal.complete('DROP API_TOKEN "D', 'DROP API_TOKEN "Deploy To Mars" ');
  terminal.type(CTRL_C);
  await terminal.atPrompt();
  await terminal.complete("DROP API_TOKEN b", "DROP API_TOKEN backup");
  const shown = terminal.shown.length;
  terminal.type(TAB);
  await terminal.shows(/backup +backup_all/, shown);
  await terminal.atPrompt("DROP API_TOKEN backup");
});

test("Tab goes on from the lines before", async () => {
  const terminal = open();
  await terminal.atPrompt();
  terminal.type("ALTER API_TOKEN x\r");
  const continuation = "                 -> ";
  await terminal.atPrompt("", continuation);
  await terminal.complete("re", "renew ", continuation);
  await terminal.complete("T", "renew TOKEN ", continuation);
});

test("Up brings back the lines of earlier sessions, which are in a file for its owner only", async () => {
  const first = open();
  await first.enter("LIST API_TOKENS;");
  await first.enter("LIST API_TOKENS EXPIRING WITHIN 7 DAYS;");
  await leave(first);
  const second = open();
  await second.atPrompt();
  second.type(UP);
  await second.atPrompt("LIST API_TOKENS EXPIRING WITHIN 7 DAYS;");
  second.type(UP);
  await second.atPrompt("LIST API_TOKENS;");
  expect((await stat(join(home.path, "apitoken", "history"))).mode & 0o777).toBe(0o600);
});

test("what may be a secret never comes into the file, and with an empty APITOKEN_HISTORY nothing does", async () => {
  const terminal = open();
  await terminal.enter("CREATE API_TOKEN deploy;");
  await terminal.enter(`DESCRIBE API_TOKEN ${TOKEN};`);
  await terminal.enter(`${TOKEN.slice(0, 50)};`);
  await leave(terminal);
  expect(terminal.shown).toMatch(/apt_[0-9A-Za-z]{78}/);
  expect(await historyOf()).toBe("CREATE API_TOKEN deploy;\n");
  const quiet = open([], { APITOKEN_HISTORY: "" });
  await quiet.enter("LIST API_TOKENS;");
  await leave(quiet);
  expect(await historyOf()).toBe("CREATE API_TOKEN deploy;\n");
});

test("a history that cannot be written or read disturbs nothing", async () => {
  const terminal = open([], { APITOKEN_HISTORY: join("/dev/null", "history") });
  expect(await terminal.enter("LIST API_TOKENS;")).toContain("Expires At");
  await leave(terminal);
});

test("\\? shows the grammar", async () => {
  expect(await open().enter("\\?")).toContain("LIST API_TOKENS [EXPIRING WITHIN 30 DAYS];\r\n");
});

test("titles are bold, errors red, and what expires within a week is yellow", async () => {
  const days = (count: number) => ({ ttl: { seconds: BigInt(count * 86_400), nanos: 0 } });
  await service.tokens.createToken({ name: "soon", ...days(6) });
  await service.tokens.createToken({ name: "later", ...days(8) });
  const terminal = open();
  const list = await terminal.enter("LIST API_TOKENS;");
  expect(list).toContain(BOLD_NAME);
  expect(list).toMatch(/\| soon .* \| ␛\[33m\d{4}-[^|]*UTC␛\[39m \|/);
  expect(list).toMatch(/\| later .* \| \d{4}-[^|]*UTC \|/);
  expect(await terminal.enter("DROP API_TOKEN nothing;")).toContain(`${RED_ERROR} 3D012`);
});

test.each([{ NO_COLOR: "1" }, { TERM: "dumb" }])("with %j there are no colours", async (env) => {
  await service.tokens.createToken({ name: "soon", ttl: { seconds: 3600n, nanos: 0 } });
  const terminal = open([], env);
  expect(await terminal.enter("LIST API_TOKENS;")).toContain("  Name");
  expect(await terminal.enter("DROP API_TOKEN nothing;")).toContain("ERROR 3D012");
  expect(legible(terminal.shown)).not.toMatch(COLOURS);
});

test("an empty NO_COLOR is none", async () => {
  expect(await open([], { NO_COLOR: "" }).enter("LIST API_TOKENS;")).toContain(BOLD_NAME);
});

test("--watch shows the list again on an empty screen, and Ctrl-C ends it as it ends any program", async () => {
  const terminal = open(["--watch", "1", "-c", "LIST API_TOKENS"]);
  await terminal.shows(/␛\[H␛\[2J\d{4}-\d\d-\d\d [^\r\n]*, every 1 s\r\n\+/);
  await service.tokens.createToken({ name: "made_meanwhile" });
  await terminal.shows(/␛\[2J[^␛]*(?:␛\[\d+m[^␛]*)*made_meanwhile/);
  terminal.type(CTRL_C);
  expect(await terminal.ended).toEqual({ exitCode: 0, signal: 2 });
});
