// Runs the built program as users do: arguments, environment and stdin in; text and an exit code out.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as readAll } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { GRAMMAR } from "../../src/shell/parser.js";

const PROGRAM = new URL("../../src/shell/main.js", import.meta.url).pathname;
const SECRET = "apt_secret";

let folder: string;
let closedServer: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "apitoken-shell-"));
  closedServer = `127.0.0.1:${await closedPort()}`;
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("--help explains every option and exits with 0", async () => {
  const { code, stdout } = await shell(["--help"]);
  expect(code).toBe(0);
  for (const option of [
    "-c",
    "-f",
    "--watch",
    "--output",
    "--server",
    "--token",
    "--tls",
    "--ca-file",
    "--cert-file",
    "--key-file",
  ]) {
    expect(stdout).toContain(` ${option} `);
  }
  expect(stdout).toContain(GRAMMAR);
  expect(stdout).toContain("APITOKEN_HISTORY");
  expect(stdout).toContain("NO_COLOR");
});

test("--version tells the version of the package", async () => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  expect(await shell(["--version"])).toEqual({ code: 0, stdout: `apitoken ${version}\n`, stderr: "" });
});

describe("wrong usage exits with 2 and says what is wrong", () => {
  test.each([
    [["-c", "LIST API_TOKENS", "-f", "x"], "-c and -f cannot be combined"],
    [["-c", "LIST API_TOKENS", "-c", "DROP API_TOKEN x"], "-c is given twice"],
    [["--watch", "5"], "--watch needs -c or -f"],
    ...["0", "1.5", "-1", "5s", "86401", ""].map((seconds): [string[], string] => [
      [`--watch=${seconds}`, "-c", "LIST API_TOKENS"],
      "--watch must be a whole number of seconds from 1 to 86400",
    ]),
    ...["", "DROP API_TOKEN x", "LIST API_TOKENS; CREATE API_TOKEN x"].map((text): [string[], string] => [
      ["--watch", "5", "-c", text],
      "--watch repeats LIST statements only",
    ]),
    [["--nonsense"], "Unknown option '--nonsense'"],
    [["LIST API_TOKENS"], "Unexpected argument 'LIST API_TOKENS'"],
    [["-f"], "argument missing"],
    [["--output", "xml"], "--output must be table or json"],
    [["-f", "/nonexistent/statements.sql"], "ENOENT"],
    [["--server", "nowhere"], "the server must be host:port"],
    [["--server", "host:0"], "the server must be host:port"],
    [["--server", "host:65536"], "the server must be host:port"],
    [["--server", "unix:/run/x.sock"], "the server must be host:port"],
    [["--server", "::1:50051"], "the server must be host:port"],
    [["--cert-file", "x"], "--cert-file and --key-file go together"],
    [["--ca-file", "/nonexistent/ca.pem"], "ENOENT"],
    [["--token", ""], "the token must be visible ASCII characters only"],
    [["\u001b[2J"], "\\u{1b}[2J"],
  ])("%j", async (args, message) => {
    const { code, stdout, stderr } = await shell(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(message);
    expect(stderr).toMatch(/^apitoken: .*\nTry 'apitoken --help'\.\n$/);
  });

  test("a certificate that is none", async () => {
    const file = join(folder, "broken.pem");
    writeFileSync(file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    const { code, stderr } = await shell(["--cert-file", file, "--key-file", file]);
    expect(code).toBe(2);
    expect(stderr).toContain("the TLS files cannot be used");
  });
});

describe("a token is never put at risk", () => {
  test.each(["example.com:50051", "10.0.0.1:50051", "127.0.0.1.example.com:50051"])(
    "plaintext to %s is refused",
    async (server) => {
      const { code, stderr } = await shell(["--server", server, "-c", "LIST API_TOKENS"], { APITOKEN_TOKEN: SECRET });
      expect(code).toBe(2);
      expect(stderr).toContain("the token would travel in plaintext");
      expect(stderr).not.toContain(SECRET);
    },
  );

  test.each([`${SECRET} x`, `${SECRET}\n`, `${SECRET}ü`])(
    "the malformed token %j is refused but not shown",
    async (token) => {
      for (const [args, env] of [
        [["--token", token], {}],
        [[], { APITOKEN_TOKEN: token }],
      ] as const) {
        const { code, stdout, stderr } = await shell([...args, "-c", "LIST API_TOKENS"], env);
        expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
        expect(stderr).toContain("the token must be visible ASCII characters only");
        expect(stderr).not.toContain(SECRET);
      }
    },
  );
});

describe("a syntax error anywhere exits with 1 before anything is sent", () => {
  const statements = "LIST API_TOKENS;\nLIST TOKENS;\n";
  const message =
    'ERROR 42601: syntax error at line 2, column 6: found "TOKENS", expected API_TOKENS or API_TOKEN_EVENTS\n';

  test("in -c", async () => {
    expect(await shell(["-c", statements])).toEqual({ code: 1, stdout: "", stderr: message });
  });

  test("in a file, with or without a byte order mark", async () => {
    for (const mark of ["", "\ufeff"]) {
      const file = join(folder, "statements.sql");
      writeFileSync(file, mark + statements);
      expect(await shell(["-f", file])).toEqual({ code: 1, stdout: "", stderr: message });
    }
  });

  test("on stdin", async () => {
    expect(await shell([], {}, statements)).toEqual({ code: 1, stdout: "", stderr: message });
  });

  test("in bytes that are not UTF-8", async () => {
    const { code, stderr } = await shell([], {}, Buffer.from([0xff, 0xc3, 0x28, 0x00]));
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining("line 1, column 1") });
  });
});

test.each(["", ";", "-- nothing"])("%j is a batch without statements: no server is needed", async (statements) => {
  expect(await shell(["-c", statements])).toEqual({ code: 0, stdout: "", stderr: "" });
  expect(await shell([], {}, statements)).toEqual({ code: 0, stdout: "", stderr: "" });
});

describe("when nothing listens the exit code is 3 and the server is named", () => {
  test("by --server", async () => {
    const { code, stdout, stderr } = await shell(["--server", closedServer, "-c", "LIST API_TOKENS"]);
    expect({ code, stdout }).toEqual({ code: 3, stdout: "" });
    expect(stderr).toMatch(`ERROR 08006: cannot reach the server at ${closedServer}\n  `);
    expect(stderr).not.toContain("may have taken effect");
  });

  test("by APITOKEN_SERVER, and a change cannot have happened", async () => {
    const env = { APITOKEN_SERVER: closedServer, APITOKEN_TOKEN: SECRET };
    const { code, stderr } = await shell(["--output", "json", "-c", "ALTER API_TOKEN x RENEW TOKEN"], env);
    expect(code).toBe(3);
    expect(stderr).toContain("ECONNREFUSED");
    expect(stderr).not.toContain("may have taken effect");
    expect(stderr).not.toContain(SECRET);
  });

  test("with a server that accepts and hangs up", async () => {
    const server = createServer((socket) => socket.destroy());
    const port = await listen(server);
    const { code } = await shell(["--server", `127.0.0.1:${port}`, "-c", "LIST API_TOKENS"]);
    server.close();
    expect(code).toBe(3);
  });
});

test("a reader that has gone ends the program without a stack trace", async () => {
  const child = start(["--help"], {});
  child.stdout.destroy();
  child.stdin.end();
  const [stderr, code] = await Promise.all([readAll(child.stderr), exitOf(child)]);
  expect({ stderr, code }).toEqual({ stderr: "", code: 1 });
});

type Input = string | Buffer;

async function shell(args: readonly string[], env: Readonly<Record<string, string>> = {}, input: Input = "") {
  const child = start(args, env);
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  const [stdout, stderr, code] = await Promise.all([readAll(child.stdout), readAll(child.stderr), exitOf(child)]);
  return { code, stdout, stderr };
}

function start(args: readonly string[], env: Readonly<Record<string, string>>) {
  const { APITOKEN_SERVER: _server, APITOKEN_TOKEN: _token, NODE_OPTIONS: _options, ...inherited } = process.env;
  return spawn(process.execPath, [PROGRAM, ...args], { env: { ...inherited, ...env } });
}

function exitOf(child: ReturnType<typeof start>): Promise<number | null> {
  return new Promise((resolve) => child.on("close", resolve));
}

async function closedPort(): Promise<number> {
  const server = createServer();
  const port = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function listen(server: ReturnType<typeof createServer>): Promise<number> {
  return new Promise((resolve, reject) => {
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      if (typeof address === "object" && address !== null) resolve(address.port);
      else reject(new Error("no port"));
    });
  });
}
