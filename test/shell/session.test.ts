// The seed's transcripts as golden sessions: the real shell against a real server. Only time stamps and the secret differ.
import { spawn } from "node:child_process";
import { text as readAll } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { eventually, type Service, startService } from "../harness.js";
import { rendered, Terminal } from "./terminal.js";

const SHELL = new URL("../../src/shell/main.js", import.meta.url).pathname;

// Copied from the statement's documentation, line for line.
const SEED_LIST_BEFORE = `\
+----------+-------------------------------+-------------------------------+-------------------------------+
|  Name    |  Last Used                    |  Created At                   |  Expires At                   |
+==========+===============================+===============================+===============================+
| my_token | 2024-07-11 20:38:32 +0000 UTC | 2024-07-11 20:37:17 +0000 UTC | 2024-10-09 20:37:17 +0000 UTC |
+----------+-------------------------------+-------------------------------+-------------------------------+
`;
const SEED_RENEW = `\
+-----------+----------+----------+------------------------------------------+--------------------------------+
|  Type     |  Name    |  Command |  Summary                                 |  Token                         |
+===========+==========+==========+==========================================+================================+
| api_token | my_token | ALTER    | api_token my_token was successfully      | <redacted_refreshed_api_token> |
|           |          |          | refreshed                                |                                |
+-----------+----------+----------+------------------------------------------+--------------------------------+
`;
const SEED_LIST_AFTER = `\
+----------+------------+-------------------------------+-------------------------------+
|  Name    |  Last Used |  Created At                   |  Expires At                   |
+==========+============+===============================+===============================+
| my_token | <null>     | 2024-07-11 20:38:50 +0000 UTC | 2024-10-09 20:38:50 +0000 UTC |
+----------+------------+-------------------------------+-------------------------------+
`;
const TOKEN = /apt_[0-9A-Za-z]{78}/g;
const TIME = /\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC/g;

let service: Service;
beforeAll(async () => {
  service = await startService({ MAX_TOKENS_PER_USER: "2000", CALL_RATES: "CreateToken=10000" });
});
beforeEach(() => service.redis.client.flushall());
afterAll(() => service.stop());

/** Runs the built shell on the server. */
async function shell(args: readonly string[], input = ""): Promise<{ code: unknown; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [SHELL, "--server", service.address, ...args]);
  child.stdin.end(input);
  const ended = new Promise((resolve) => child.on("close", resolve));
  const [stdout, stderr, code] = await Promise.all([readAll(child.stdout), readAll(child.stderr), ended]);
  return { code, stdout, stderr };
}

/** Puts one text for every time stamp; they are all equally long, so the layout stays. */
const sameTimes = (text: string) => text.replace(TIME, "2024-07-11 20:37:17 +0000 UTC");

/** The seed's redacted secret in place of the 82 characters of ours, its column narrowed by as much. */
function seedToken(table: string): string {
  const placeholder = "<redacted_refreshed_api_token>";
  const surplus = 82 - placeholder.length;
  return table
    .replace(TOKEN, placeholder)
    .split("\n")
    .map((line) =>
      line.includes(placeholder) ? line : line.replace(new RegExp(`([ =-])\\1{${surplus - 1}}(?=.?[|+]$)`), ""),
    )
    .join("\n");
}

/** A token `my_token` that was used. */
async function usedToken(): Promise<string> {
  const { token } = await service.tokens.createToken({ name: "my_token" });
  await service.verification.verifyToken({ token });
  await eventually(async () => {
    expect((await service.tokens.getToken({ name: "my_token" })).apiToken?.lastUsedTime).toBeDefined();
  });
  return token;
}

test("the seed's session, scripted: LIST, ALTER ... RENEW TOKEN, LIST", async () => {
  const old = await usedToken();
  const before = await shell([], "LIST API_TOKENS;");
  expect(before).toEqual({ code: 0, stdout: expect.anything(), stderr: "" });
  expect(sameTimes(before.stdout)).toBe(sameTimes(SEED_LIST_BEFORE));

  const renewed = await shell(["-c", "ALTER API_TOKEN my_token RENEW TOKEN;"]);
  expect(seedToken(renewed.stdout)).toBe(SEED_RENEW);
  const [token = ""] = renewed.stdout.match(TOKEN) ?? [];
  expect(await service.verification.verifyToken({ token: old })).toMatchObject({ active: false });
  const after = await shell(["-c", "LIST API_TOKENS"]);
  expect(sameTimes(after.stdout)).toBe(sameTimes(SEED_LIST_AFTER));
  expect(await service.verification.verifyToken({ token })).toMatchObject({ active: true });
});

test("the seed's session, typed at a terminal: the transcript is the seed's, prompts and all", async () => {
  await usedToken();
  const terminal = new Terminal(["--server", service.address], { APITOKEN_HISTORY: "" });
  for (const statement of ["LIST API_TOKENS;", "ALTER API_TOKEN my_token RENEW TOKEN;", "LIST API_TOKENS;"]) {
    await terminal.enter(statement);
  }
  terminal.type("\\q\r");
  await terminal.ended;
  expect(seedToken(sameTimes(rendered(terminal.shown)))).toBe(
    sameTimes(
      [
        `<no-db>/<no-store># LIST API_TOKENS;\n${SEED_LIST_BEFORE}`,
        `<no-db>/<no-store># ALTER API_TOKEN my_token RENEW TOKEN;\n${SEED_RENEW}`,
        `<no-db>/<no-store># LIST API_TOKENS;\n${SEED_LIST_AFTER}`,
        "<no-db>/<no-store># \\q\n",
      ].join(""),
    ),
  );
});

test("CREATE and DROP print the words and columns of the statement's tables", async () => {
  const created = await shell([
    "-c",
    "create api_token My_Token with ('token.role_name' = Reader, 'token.expires_in_days' = 30)",
  ]);
  expect(seedToken(created.stdout)).toBe(
    SEED_RENEW.replace("ALTER ", "CREATE").replace("refreshed |", "created   |").replace("refreshed  ", "created    "),
  );
  const { apiToken } = await service.tokens.getToken({ name: "my_token" });
  expect(apiToken).toMatchObject({ role: "reader", ttl: { seconds: 2_592_000n, nanos: 0 } });
  const dropped = await shell(["-c", "DROP API_TOKEN my_token"]);
  expect(dropped.stdout).toBe(`\
+-----------+----------+----------+------------------------------------------+
|  Type     |  Name    |  Command |  Summary                                 |
+===========+==========+==========+==========================================+
| api_token | my_token | DROP     | api_token my_token was successfully      |
|           |          |          | dropped                                  |
+-----------+----------+----------+------------------------------------------+
`);
});

test("quoted names keep their case and characters, and DESCRIBE shows one token", async () => {
  await shell(["-c", `CREATE API_TOKEN "My ""Token"" {1}"`]);
  const { stdout } = await shell(["-c", `DESCRIBE API_TOKEN "My ""Token"" {1}"`, "--output", "json"]);
  expect(JSON.parse(stdout)).toMatchObject({
    api_token: { name: 'My "Token" {1}', generation: 1, last_used_time: null },
  });
});

test("LIST shows all of more tokens than one page holds", async () => {
  for (let made = 0; made < 1001; made += 91) {
    await Promise.all(Array.from({ length: 91 }, (_, i) => service.tokens.createToken({ name: `t${made + i}` })));
  }
  const { stdout } = await shell(["-c", "LIST API_TOKENS", "--output", "json"]);
  expect((JSON.parse(stdout) as { api_tokens: unknown[] }).api_tokens).toHaveLength(1001);
});

test("LIST ... EXPIRING WITHIN n DAYS shows the tokens that end within n days", async () => {
  for (const [name, days] of Object.entries({ tomorrow: 1, month: 30, year: 365 })) {
    await service.tokens.createToken({ name, ttl: { seconds: BigInt(days * 86_400 - 60), nanos: 0 } });
  }
  const names = async (days: number) => {
    const { stdout } = await shell(["-c", `LIST API_TOKENS EXPIRING WITHIN ${days} DAYS`, "--output", "json"]);
    return (JSON.parse(stdout) as { api_tokens: { name: string }[] }).api_tokens.map(({ name }) => name);
  };
  expect(await names(1)).toEqual(["tomorrow"]);
  expect(await names(30)).toEqual(["month", "tomorrow"]);
  expect(await names(36_500)).toEqual(["month", "tomorrow", "year"]);
  const { stdout } = await shell(["-c", "LIST API_TOKENS EXPIRING WITHIN 29 DAYS"]);
  expect(sameTimes(stdout)).toBe(sameTimes(SEED_LIST_AFTER.replace("my_token", "tomorrow")));
});

test.each(["LIST API_TOKEN_EVENTS", "LIST API_TOKEN_EVENTS FOR nothing"])(
  "%s shows the titles alone, or an empty list, when nothing has happened",
  async (statement) => {
    const table = `\
+-------+--------+-------+------+-------------+--------+
|  Time |  Event |  Name |  Uid |  Generation |  Actor |
+=======+========+=======+======+=============+========+
+-------+--------+-------+------+-------------+--------+
`;
    expect(await shell(["-c", statement])).toEqual({ code: 0, stdout: table, stderr: "" });
    expect((await shell(["-c", statement, "--output", "json"])).stdout).toBe('{"events":[]}\n');
  },
);

test.each([
  ["ALTER API_TOKEN nothing RENEW TOKEN", "ERROR 3D012: api_token nothing does not exist\n"],
  ["DROP API_TOKEN nothing", "ERROR 3D012: api_token nothing does not exist\n"],
  ["CREATE API_TOKEN taken", "ERROR 42P09: api_token taken already exists\n"],
  [
    `CREATE API_TOKEN "${"x".repeat(129)}"`,
    "ERROR 42622: name must have at most 128 characters\n  name: must have at most 128 characters\n",
  ],
  [
    "LIST API_TOKENS; LIST NOTHING",
    'ERROR 42601: syntax error at line 1, column 23: found "NOTHING", expected API_TOKENS or API_TOKEN_EVENTS\n',
  ],
])("%s fails with its SQL state, exit code 1, and changes nothing", async (statement, expected) => {
  await service.tokens.createToken({ name: "taken" });
  const before = await service.tokens.listTokens({});
  expect(await shell(["-c", statement])).toEqual({ code: 1, stdout: "", stderr: expected });
  expect(await service.tokens.listTokens({})).toEqual(before);
});

test("a batch stops at the first statement that fails", async () => {
  const { code, stderr } = await shell([], "CREATE API_TOKEN a; DROP API_TOKEN b; CREATE API_TOKEN c;");
  expect([code, stderr]).toEqual([1, "ERROR 3D012: api_token b does not exist\n"]);
  expect((await service.tokens.listTokens({})).apiTokens.map(({ name }) => name)).toEqual(["a"]);
});

test("a renewal that meets a Redis that is away is retried, and renews once", async () => {
  await service.tokens.createToken({ name: "my_token" });
  await service.redis.client.client("PAUSE", 1500, "WRITE");
  const { code, stdout } = await shell(["-c", "ALTER API_TOKEN my_token RENEW TOKEN"]);
  expect(code).toBe(0);
  const [token = ""] = stdout.match(TOKEN) ?? [];
  const { apiToken } = await service.verification.verifyToken({ token });
  expect(apiToken?.generation).toBe(2n);
});
