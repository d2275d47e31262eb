// --watch where there is no terminal: what a pipe gets, round after round, and what ends it.
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { type handleUnaryCall, Server, ServerCredentials, status } from "@grpc/grpc-js";
import { afterEach, expect, test } from "@jest/globals";
import {
  ApiTokenServiceService,
  type ListTokensRequest,
  type ListTokensResponse,
} from "../../gen/apitoken/v1/api_token_service.js";
import { eventually } from "../harness.js";

const PROGRAM = new URL("../../src/shell/main.js", import.meta.url).pathname;
const HEADING = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC, every 1 s$/;
const EMPTY_TABLE = `\
+-------+------------+-------------+-------------+
|  Name |  Last Used |  Created At |  Expires At |
+=======+============+=============+=============+
+-------+------------+-------------+-------------+
`;

const children: ChildProcessWithoutNullStreams[] = [];
const servers: Server[] = [];
/** With what the server refuses lists; none are refused when it is undefined. */
let refusal: status | undefined;
afterEach(() => {
  refusal = undefined;
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const server of servers.splice(0)) server.forceShutdown();
});

/** A server that has no tokens. */
async function startStub(): Promise<string> {
  const listTokens: handleUnaryCall<ListTokensRequest, ListTokensResponse> = (_, answer) => {
    if (refusal === undefined) answer(null, { apiTokens: [], nextPageToken: "" });
    else answer({ code: refusal, details: status[refusal] });
  };
  const server = new Server();
  servers.push(server);
  server.addService(ApiTokenServiceService, { listTokens });
  const port = await new Promise<number>((resolve, reject) => {
    const bound = (error: Error | null, at: number) => (error ? reject(error) : resolve(at));
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), bound);
  });
  return `127.0.0.1:${port}`;
}

function watch(server: string, ...args: readonly string[]) {
  const child = spawn(process.execPath, [
    PROGRAM,
    "--server",
    server,
    "--watch",
    "1",
    "-c",
    "LIST API_TOKENS",
    ...args,
  ]);
  children.push(child);
  const seen = { stdout: "", stderr: "" };
  child.stdout.on("data", (bytes: Buffer) => {
    seen.stdout += bytes.toString();
  });
  child.stderr.on("data", (bytes: Buffer) => {
    seen.stderr += bytes.toString();
  });
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => {
    child.on("close", (code, signal) => resolve(code ?? signal));
  });
  return { child, seen, ended };
}

test("a pipe gets each list under its time, without colours, and SIGINT ends it as it ends any program", async () => {
  const { child, seen, ended } = watch(await startStub());
  await eventually(() => expect(seen.stdout.split(EMPTY_TABLE).length).toBeGreaterThan(2));
  child.kill("SIGINT");
  expect(await ended).toBe("SIGINT");
  const [first, second] = seen.stdout.split(EMPTY_TABLE);
  expect(first?.trimEnd()).toMatch(HEADING);
  expect(second?.replace(/^\n/, "").trimEnd()).toMatch(HEADING);
  expect(second?.startsWith("\n")).toBe(true);
});

test("in JSON each round is one line, and nothing else", async () => {
  const { seen } = watch(await startStub(), "--output", "json");
  await eventually(() => expect(seen.stdout).toMatch(/^\{"api_tokens":\[\]\}\n\{"api_tokens":\[\]\}\n/));
});

test("a server that is away for a time is shown and waited for; any other failure is the end", async () => {
  const { seen, ended } = watch(await startStub(), "--output", "json");
  await eventually(() => expect(seen.stdout).toContain("api_tokens"));
  refusal = status.UNAVAILABLE;
  await eventually(() => expect(seen.stderr).toContain("ERROR 08006: cannot reach the server"));
  refusal = undefined;
  const before = seen.stdout.length;
  await eventually(() => expect(seen.stdout.length).toBeGreaterThan(before));
  refusal = status.PERMISSION_DENIED;
  expect(await ended).toBe(1);
  expect(seen.stderr).toMatch(/ERROR XX000: PERMISSION_DENIED\n$/);
});

test("a server that was never there ends it as it ends any call", async () => {
  expect(await watch("127.0.0.1:1").ended).toBe(3);
});
