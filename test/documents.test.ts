// The README is true: every RPC, reason, variable and statement in it exists, and the reverse; its tour runs as written.
import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { ApiTokenServiceService } from "../gen/apitoken/v1/api_token_service.js";
import { TokenVerificationServiceService } from "../gen/apitoken/v1/token_verification_service.js";
import { formatToken, generateSecret, generateUid } from "../src/domain/token-string.js";
import { STATUS_OF } from "../src/grpc/status.js";
import { parseStatements } from "../src/shell/parser.js";
import { type Service, startService } from "./harness.js";

const ROOT = resolve(import.meta.dirname, "../..");
const README = readFileSync(join(ROOT, "README.md"), "utf8");

/** The text under a heading, up to the next one. */
function section(title: string): string {
  const [, text] = README.split(new RegExp(`^## ${title}$`, "m"));
  if (text === undefined) throw new Error(`the README has no section "${title}"`);
  return text.split(/^## /m)[0] ?? "";
}

/** The code in the first cell of each row of a section's table. */
function firstCells(title: string): string[] {
  return [...section(title).matchAll(/^\| `([^`]+)` \|/gm)].map(([, cell = ""]) => cell).sort();
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
  const source = readFileSync(join(ROOT, "src/config.ts"), "utf8");
  const names = [...source.matchAll(/(?:read(?:<.*>)?|flag|text)\(\s*"([A-Z_]+)"/g)].map(([, name = ""]) => name);
  expect(names.length).toBeGreaterThan(10);
  expect(firstCells("Configuration")).toEqual(names.sort());
});

test("every statement of the grammar parses, with and without its options", () => {
  const [, grammar = ""] = /```sql\n([\s\S]*?)```/.exec(section("The shell")) ?? [];
  const full = grammar.replace(/[[\]]/g, "");
  const short = grammar.replace(/ ?\[[^\]]*\]/g, "");
  const kinds = ["create", "list", "renew", "drop", "describe"];
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

describe("the tour", () => {
  let service: Service;
  beforeAll(async () => {
    service = await startService();
  });
  afterAll(() => service.stop());

  // Each block that is marked as run, with the output that follows it, if one does.
  const marked = README.matchAll(/<!-- run -->\n```sh\n([\s\S]*?)```\n(?:```text\n([\s\S]*?)```)?/g);
  const blocks = Array.from(marked, ([, script = "", output]) => ({ script, output }));

  test("has blocks that run", () => expect(blocks.length).toBeGreaterThan(3));

  test.each(blocks)("runs as written: $script", async ({ script, output }) => {
    const { stdout } = await promisify(execFile)("sh", ["-ec", script.replaceAll("127.0.0.1:50051", service.address)], {
      cwd: ROOT,
      env: { ...process.env, APITOKEN_SERVER: service.address },
      timeout: 15_000,
    });
    if (output === undefined) expect(stdout).toContain('"generation": "2"');
    else expect(masked(stdout)).toBe(masked(output));
  });
});

/** Without what differs from run to run: times, uids, secrets. */
function masked(text: string): string {
  return text
    .replace(/\d{4}-\d\d-\d\d/g, "0000-00-00")
    .replace(/\d\d:\d\d:\d\d(?:\.\d+)?/g, "00:00:00")
    .replace(/apt_\w{78}/g, "apt_")
    .replace(/"uid": "\w{28}"/g, '"uid": ""')
    .replace(/"etag": "\w{12}\.1"/g, '"etag": ""');
}
