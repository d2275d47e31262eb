// The README is true: every RPC, reason, variable and statement in it exists, and the reverse; its tour runs as written.
import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { ApiTokenServiceService } from "../gen/apitoken/v1/api_token_service.js";
import { TokenVerificationServiceService } from "../gen/apitoken/v1/token_verification_service.js";
import { describeConfig } from "../src/config.js";
import { formatToken, generateSecret, generateUid } from "../src/domain/token-string.js";
import { DEFAULT_CALL_RATES } from "../src/grpc/admission.js";
import { STATUS_OF } from "../src/grpc/status.js";
import { GRAMMAR, parseStatements } from "../src/shell/parser.js";
import { type Service, startService, temporaryFolder } from "./harness.js";
import { type ServerProcess, startServerProcess } from "./server-process.js";

const ROOT = resolve(import.meta.dirname, "../..");
const README = readFileSync(join(ROOT, "README.md"), "utf8");

/** The text under a heading, up to the next one. */
function section(title: string): string {
  const [, text] = README.split(new RegExp(`^## ${title}$`, "m"));
  if (text === undefined) throw new Error(`the README has no section "${title}"`);
  return text.split(/^## /m)[0] ?? "";
}

/** The pieces of code in the first cell of each row of a section's table. */
function firstCells(title: string): string[] {
  const cells = [...section(title).matchAll(/^\| (`[^|]+`) \|/gm)].map(([, cell = ""]) => cell);
  return cells.flatMap((cell) => cell.split(", ").map((code) => code.replaceAll("`", ""))).sort();
}

test("the RPC table has every RPC and no other", () => {
  const services = {
    ApiTokenService: ApiTokenServiceService,
    TokenVerificationService: TokenVerificationServiceService,
  };
  const rpcs = Object.entries(services).flatMap(([service, definition]) =>
    Object.values(definition).map(({ path }) => `${service}.${path.split("/").at(-1)}`),
  );
  expect(firstCells("RPCs")).toEqual(rpcs.sort());
});

test("the error table has every reason with its status and SQL state", () => {
  expect(firstCells("Errors")).toEqual([...Object.keys(STATUS_OF), "INTERNAL"].sort());
  for (const [reason, { sqlState }] of Object.entries(STATUS_OF)) {
    expect(section("Errors")).toMatch(new RegExp(`^\\| \`${reason}\` \\| [A-Z_]+ \\| ${sqlState}`, "m"));
  }
});

test("the configuration table has every variable that the server reads and no other", () => {
  const names = [...describeConfig({}).matchAll(/^([A-Z_]+)=/gm)].map(([, name = ""]) => name);
  expect(names.length).toBeGreaterThan(30);
  expect(firstCells("Configuration")).toEqual(names.sort());
});

test("the call rates in the README are those of the server", () => {
  const [, text = ""] = /`CALL_RATES` by default: ([^.]*)\./.exec(section("Configuration")) ?? [];
  const rates = Object.entries(DEFAULT_CALL_RATES);
  for (const [rpc, rate] of rates.filter(([, rate]) => rate !== 100))
    expect(text).toMatch(new RegExp(`${rpc}\\b[^,]* ${rate}`));
  expect(text).toMatch(/the others 100$/);
});

test("each control of the threat model names a test that exists", () => {
  const rows = [...section("Threat model").matchAll(/^\| .* \| `(test\/[\w/.-]+)`: (.*) \|$/gm)];
  expect(rows.length).toBeGreaterThan(15);
  for (const [, file = "", title = ""] of rows) {
    const source = readFileSync(join(ROOT, file), "utf8");
    expect([file, title, source.includes(`"${title}"`)]).toEqual([file, title, true]);
  }
});

test("every statement of the grammar parses, with and without its options", () => {
  const [, grammar = ""] = /```sql\n([\s\S]*?)```/.exec(section("The shell")) ?? [];
  expect(grammar).toBe(GRAMMAR);
  const full = grammar.replace(/[[\]]/g, "");
  const short = grammar.replace(/ ?\[[^\]]*\]/g, "");
  const kinds = ["create", "list", "events", "renew", "drop", "describe"];
  for (const text of [full, short]) expect(parseStatements(text).map(({ kind }) => kind)).toEqual(kinds);
});

test("the scanning pattern finds a token", () => {
  const [, pattern = ""] = /secret scanners: `([^`]+)`/.exec(README) ?? [];
  const token = formatToken("apt", generateUid("acme"), generateSecret());
  expect(new RegExp(pattern).exec(`Bearer ${token}.`)?.[0]).toBe(token);
});

test("every folder and file of src/ is in the source section", () => {
  for (const entry of readdirSync(join(ROOT, "src"))) expect(section("Source")).toContain(entry);
});

test("every link within the documents leads somewhere", () => {
  const headings = [...README.matchAll(/^#+ (.*)$/gm)].map(
    ([, title = ""]) => `#${title.toLowerCase().replaceAll(" ", "-")}`,
  );
  for (const [, target = ""] of README.matchAll(/\]\(([^)]+)\)/g)) {
    if (target.startsWith("#")) expect(headings).toContain(target);
    else if (!target.startsWith("https://")) expect([target, existsSync(join(ROOT, target))]).toEqual([target, true]);
  }
});

/** Each block with the mark, and the output that follows it, if one does. */
function blocksOf(mark: string): { script: string; output: string | undefined }[] {
  const marked = README.matchAll(
    new RegExp(`<!-- ${mark} -->\\n\`\`\`sh\\n([^]*?)\`\`\`\\n(?:\`\`\`text\\n([^]*?)\`\`\`)?`, "g"),
  );
  return Array.from(marked, ([, script = "", output]) => ({ script, output }));
}

async function run(script: string, env: Readonly<Record<string, string>>): Promise<string> {
  const options = { cwd: ROOT, env: { ...process.env, ...env }, timeout: 30_000 };
  return (await promisify(execFile)("sh", ["-ec", script], options)).stdout;
}

describe("the tour", () => {
  let service: Service;
  beforeAll(async () => {
    service = await startService();
  });
  afterAll(() => service.stop());

  const blocks = blocksOf("run");

  test("has blocks that run", () => expect(blocks.length).toBeGreaterThan(3));

  test.each(blocks)("runs as written: $script", async ({ script, output }) => {
    const { address } = service;
    const stdout = await run(script.replaceAll("127.0.0.1:50051", address), { APITOKEN_SERVER: address });
    if (output === undefined) expect(stdout).toContain('"generation": "2"');
    else expect(masked(stdout)).toBe(masked(output));
  });
});

const started: ServerProcess[] = [];
afterAll(() => {
  for (const { child } of started) child.kill("SIGKILL");
});

test("the section about the network takes a person from development mode to JWTs, TLS and mTLS", async () => {
  const folder = await temporaryFolder();
  const dir = join(folder.path, "local-issuer");
  await run(`node dist/test/local-issuer.js --dir '${dir}'`, {});
  const anyPort = "LISTEN_ADDRESS=127.0.0.1:0 MTLS_LISTEN_ADDRESS=127.0.0.1:0";
  const start = `. '${dir}/env'; ${anyPort} DATA_DIR='${folder.path}/data' exec node dist/src/main.js`;
  const server = startServerProcess({}, ["sh", "-ec", start]);
  started.push(server);
  const bearers = await server.listening();
  const [, services = ""] = / and (\S+) and keeps /.exec(server.printed.stdout) ?? [];

  const blocks = blocksOf("network");
  const scripts = blocks.map(({ script }) => script).join("");
  const commands = scripts.replaceAll("data/local-issuer", dir).replaceAll("127.0.0.1:50052", services);
  const stdout = await run(commands, { APITOKEN_SERVER: bearers });
  expect(blocks).toHaveLength(3);
  expect(masked(stdout)).toBe(masked(blocks.map(({ output }) => output).join("")));
  server.child.kill("SIGTERM");
  expect(await server.exited).toBe(0);
  await folder.remove();
});

/** Without what differs from run to run: times, uids, secrets. */
function masked(text: string): string {
  return text
    .replace(/\d{4}-\d\d-\d\d/g, "0000-00-00")
    .replace(/\d\d:\d\d:\d\d(?:\.\d+)?/g, "00:00:00")
    .replace(/"expiresIn": "\d+s"/g, '"expiresIn": "0s"')
    .replace(/apt_\w{78}/g, "apt_")
    .replace(/\b[0-9A-Za-z]{28}\b/g, "uid")
    .replace(/"etag": "\w{12}\.1"/g, '"etag": ""');
}
