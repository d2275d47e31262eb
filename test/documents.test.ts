// The README and the pages of docs/ are true: every RPC, reason, variable and statement in them exists, and the reverse;
// every link leads somewhere; the tours run as written.
import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, resolve } from "node:path";
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
const PAGES = readdirSync(join(ROOT, "docs")).filter((name) => name.endsWith(".md"));
/** The text of each document by its path in the repository. */
const DOCUMENTS: ReadonlyMap<string, string> = new Map(
  ["README.md", "CONTRIBUTING.md", ...PAGES.map((name) => `docs/${name}`)].map((path) => [
    path,
    readFileSync(join(ROOT, path), "utf8"),
  ]),
);
const MAX_README_LINES = 299;

function text(path: string): string {
  const found = DOCUMENTS.get(path);
  if (found === undefined) throw new Error(`there is no ${path}`);
  return found;
}

/** The text under a heading of the second level, up to the next one. */
function section(path: string, title: string): string {
  const [, found] = text(path).split(new RegExp(`^## ${title}$`, "m"));
  if (found === undefined) throw new Error(`${path} has no section "${title}"`);
  return found.split(/^## /m)[0] ?? "";
}

/** The pieces of code in the first cell of each row of a table. */
function firstCells(table: string): string[] {
  const cells = [...table.matchAll(/^\| (`[^|]+`) \|/gm)].map(([, cell = ""]) => cell);
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
  expect(firstCells(section("README.md", "RPCs"))).toEqual(rpcs.sort());
});

test("the error table has every reason with its status and SQL state", () => {
  const errors = section("docs/errors.md", "Errors");
  expect(firstCells(errors)).toEqual([...Object.keys(STATUS_OF), "INTERNAL"].sort());
  for (const [reason, { sqlState }] of Object.entries(STATUS_OF)) {
    expect(errors).toMatch(new RegExp(`^\\| \`${reason}\` \\| [A-Z_]+ \\| ${sqlState}`, "m"));
  }
});

test("the configuration table has every variable that the server reads and no other", () => {
  const names = [...describeConfig({}).matchAll(/^([A-Z_]+)=/gm)].map(([, name = ""]) => name);
  expect(names.length).toBeGreaterThan(30);
  expect(firstCells(text("docs/configuration.md"))).toEqual(names.sort());
});

test("the call rates in the documents are those of the server", () => {
  const [, listed = ""] = /`CALL_RATES` by default: ([^.]*)\./.exec(text("docs/configuration.md")) ?? [];
  const rates = Object.entries(DEFAULT_CALL_RATES);
  for (const [rpc, rate] of rates.filter(([, rate]) => rate !== 100))
    expect(listed).toMatch(new RegExp(`${rpc}\\b[^,]* ${rate}`));
  expect(listed).toMatch(/the others 100$/);
});

test("each control names a test that exists", () => {
  const rows = [
    ...section("docs/security.md", "Controls and their tests").matchAll(/^\| .* \| `(test\/[\w/.-]+)`: (.*) \|$/gm),
  ];
  expect(rows.length).toBeGreaterThan(15);
  for (const [, file = "", title = ""] of rows) {
    const source = readFileSync(join(ROOT, file), "utf8");
    expect([file, title, source.includes(`"${title}"`)]).toEqual([file, title, true]);
  }
});

test("every statement of the grammar parses, with and without its options", () => {
  const [, grammar = ""] = /```sql\n([\s\S]*?)```/.exec(section("README.md", "Statements")) ?? [];
  expect(grammar).toBe(GRAMMAR);
  const full = grammar.replace(/[[\]]/g, "");
  const short = grammar.replace(/ ?\[[^\]]*\]/g, "");
  const kinds = ["create", "list", "events", "renew", "drop", "describe"];
  for (const statements of [full, short]) expect(parseStatements(statements).map(({ kind }) => kind)).toEqual(kinds);
});

test("the table of statements has those of the grammar and no other", () => {
  // `ALTER API_TOKEN name RENEW TOKEN [...]` is `ALTER API_TOKEN ... RENEW TOKEN` there.
  const words = GRAMMAR.trim()
    .split("\n")
    .map((line) =>
      line
        .replace(/ \[.*|;/g, "")
        .replace(/ name(?= )/, " ...")
        .replace(/ name$/, ""),
    );
  const rows = [...section("README.md", "Statements").matchAll(/^\| ([A-Z_. ]+) \|/gm)].map(([, cell]) => cell);
  expect(rows).toEqual(words);
});

test("the scanning pattern finds a token", () => {
  const [, pattern = ""] = /secret scanners: `([^`]+)`/.exec(text("README.md")) ?? [];
  const token = formatToken("apt", generateUid("acme"), generateSecret());
  expect(new RegExp(pattern).exec(`Bearer ${token}.`)?.[0]).toBe(token);
});

test("every folder and file of src/ is in the source section", () => {
  for (const entry of readdirSync(join(ROOT, "src"))) expect(section("CONTRIBUTING.md", "Source")).toContain(entry);
});

/** As GitHub makes anchors of headings. */
function anchors(markdown: string): string[] {
  const prose = markdown.replace(/^```[\s\S]*?^```$/gm, "");
  return [...prose.matchAll(/^#+ (.*)$/gm)].map(([, title = ""]) =>
    title
      .toLowerCase()
      .replace(/[^\w\- ]/g, "")
      .replaceAll(" ", "-"),
  );
}

/** Files and headings that a document links to, by their paths in the repository. */
function links(path: string): { target: string; anchor: string | undefined }[] {
  const found = [...text(path).matchAll(/\]\(([^)]+)\)/g)].map(([, link = ""]) => link);
  return found
    .filter((link) => !link.startsWith("https://"))
    .map((link) => {
      const [file = "", anchor] = link.split("#");
      return { target: file === "" ? path : normalize(join(dirname(path), file)), anchor };
    });
}

test.each([...DOCUMENTS.keys()])("every link of %s leads to a file and a heading that are there", (path) => {
  for (const { target, anchor } of links(path)) {
    expect([target, existsSync(join(ROOT, target))]).toEqual([target, true]);
    if (anchor !== undefined) expect([target, ...anchors(text(target))]).toContain(anchor);
  }
});

test("every page is linked from the README", () => {
  const linked = links("README.md").map(({ target }) => target);
  for (const page of PAGES) expect(linked).toContain(`docs/${page}`);
});

test("the README can be read in one go", () => {
  expect(text("README.md").trimEnd().split("\n").length).toBeLessThanOrEqual(MAX_README_LINES);
});

test.each([...DOCUMENTS.keys()])("every npm script and every file that %s names is there", (path) => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { scripts: object };
  for (const [, script = ""] of text(path).matchAll(/npm run ([\w:-]+)/g))
    expect(Object.keys(scripts)).toContain(script);
  const ours = /`((?:src|test|bench|docs|deploy|clients|proto|gen)\/[\w./-]*)(?=[`: ])/g;
  for (const [, file = ""] of text(path).matchAll(ours)) {
    expect([file, existsSync(join(ROOT, file))]).toEqual([file, true]);
  }
});

test("the pictures are what their script draws", async () => {
  const folder = await temporaryFolder();
  await run(`node docs/pictures.mjs '${folder.path}'`, {});
  const drawn = readdirSync(folder.path);
  expect(drawn.sort()).toEqual(["parts.svg", "token-life.svg"]);
  for (const name of drawn) {
    const picture = readFileSync(join(folder.path, name), "utf8");
    expect([name, readFileSync(join(ROOT, "docs", name), "utf8")]).toEqual([name, picture]);
    expect(
      [...DOCUMENTS.keys()].filter((path) => links(path).some(({ target }) => target === `docs/${name}`)),
    ).not.toEqual([]);
  }
  await folder.remove();
});

/** Words in capitals that are neither settings of the server nor reasons: of the contract, of the shell, of other programs. */
const OTHER_WORDS =
  /^(?:API_TOKEN(?:_EVENTS)?|SECRET_(?:CURRENT|PREVIOUS)|NODE_ENV|OTEL_\w+|CLIENTS_REQUIRED|APITOKEN_HISTORY|XDG_STATE_HOME|NO_COLOR)$/;

test("every setting and reason that a page names is one", () => {
  const settings = describeConfig({}).match(/^[A-Z_]+(?==)/gm) ?? [];
  const known = [...settings, ...Object.keys(STATUS_OF), "INTERNAL"];
  const code = [...DOCUMENTS.values()].flatMap((page) => page.match(/`[^`\n]+`/g) ?? []);
  const words = code.flatMap((each) => each.match(/\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b/g) ?? []);
  expect(words.length).toBeGreaterThan(50);
  for (const word of words.filter((each) => !OTHER_WORDS.test(each))) expect(known).toContain(word);
});

/** Each block with the mark, and the output that follows it, if one does. */
function blocksOf(mark: string): { script: string; output: string | undefined }[] {
  const marked = [...DOCUMENTS.values()]
    .join("\n")
    .matchAll(new RegExp(`<!-- ${mark} -->\\n\`\`\`\\w+\\n([^]*?)\`\`\`\\n(?:\`\`\`text\\n([^]*?)\`\`\`)?`, "g"));
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

  test("the program with the package runs as written", async () => {
    const [block, ...others] = blocksOf("package");
    expect(others).toEqual([]);
    // A package can import itself by its name.
    const script = block?.script.replace("127.0.0.1:50051", service.address) ?? "";
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", script], {
      cwd: ROOT,
      timeout: 30_000,
    });
    expect(stdout).toBe("true\n");
  });
});

const started: ServerProcess[] = [];
afterAll(() => {
  for (const { child } of started) child.kill("SIGKILL");
});

test("the page about the network takes a person from development mode to JWTs, TLS and mTLS", async () => {
  const folder = await temporaryFolder();
  const dir = join(folder.path, "local-issuer");
  await run(`node dist/test/local-issuer.js --dir '${dir}'`, {});
  const anyPort = "LISTEN_ADDRESS=127.0.0.1:0 MTLS_LISTEN_ADDRESS=127.0.0.1:0";
  const start = `. '${dir}/env'; ${anyPort} DATA_DIR='${folder.path}/data' exec node dist/apitokend.js`;
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
