// Bad input of every kind against a real server process. Whatever a row sends, it gets the answer that it expects, the
// same process serves on, and nothing of the input comes back in an error or reaches what the server prints.
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { eventually, startRedis } from "../harness.js";
import { clients, type ServerProcess, startServerProcess } from "../server-process.js";
import { FIELD_ROWS } from "./field-rows.js";
import { FLOOD_ROWS } from "./flood-rows.js";
import { FRAME_ROWS } from "./frame-rows.js";
import { exchange, type Target } from "./grpc.js";
import { MESSAGE_ROWS } from "./message-rows.js";
import { PROTOBUF_ROWS } from "./protobuf-rows.js";
import { REQUEST_ROWS } from "./request-rows.js";
import { CANARY, CLOSED, MALFORMED, OK, type Row } from "./row.js";
import { TOKEN_ROWS } from "./token-rows.js";

let redis: Awaited<ReturnType<typeof startRedis>>;
let server: ServerProcess;
let address: string;
beforeAll(async () => {
  redis = await startRedis();
  server = startServerProcess({
    REDIS_URL: `unix://${redis.socketPath}`,
    LOG_LEVEL: "trace",
    CALL_TIMEOUT: "2s",
  });
  address = await server.listening();
});
afterAll(async () => {
  server.child.kill("SIGKILL");
  await server.exited;
  await redis.stop();
});

const sockets = new Set<Socket>();
const target: Target = {
  connect: () =>
    new Promise((resolve, reject) => {
      const socket = connect(Number(address.split(":").at(-1)), "127.0.0.1", () => resolve(socket));
      socket.on("error", reject);
      sockets.add(socket);
    }),
  metadata: [],
};

/** Every verb of a token's life works on a fresh connection. */
async function serves(): Promise<void> {
  const { tokens, verification, close } = clients(address);
  const name = crypto.randomUUID();
  try {
    const { token } = await tokens.createToken({ name });
    expect((await tokens.getToken({ name })).apiToken?.name).toBe(name);
    expect((await verification.verifyToken({ token })).active).toBe(true);
    await tokens.revokeToken({ name });
  } finally {
    close();
  }
}

/** Text and the other ways in which Node prints bytes. */
const TRACES = [
  CANARY,
  Buffer.from(CANARY).toString("hex"),
  Buffer.from(CANARY).toString("base64").slice(0, 16),
  Buffer.from(CANARY).toString("hex").match(/../g)?.join(" ") ?? "",
];

function expectNoTrace(text: string): void {
  for (const trace of TRACES) expect(text.toLowerCase()).not.toContain(trace.toLowerCase());
}

async function run({ act, expected, recoveryMs = 0 }: Row): Promise<void> {
  const start = { stdout: server.printed.stdout.length, stderr: server.printed.stderr.length };
  try {
    const outcome = await act(target);
    // While the peer of the row is still connected.
    await eventually(serves, recoveryMs);
    if ("message" in outcome) {
      expectNoTrace(outcome.message);
      expectNoTrace(outcome.details.toString("latin1"));
    }
    const alternatives = [expected].flat();
    if (!alternatives.some((one) => matches(outcome, one))) expect(outcome).toMatchObject(alternatives[0] ?? {});
  } finally {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  }
  await eventually(serves, recoveryMs);
  expect(server.child.exitCode ?? server.child.signalCode).toBeNull();
  expectNoTrace(server.printed.stdout.slice(start.stdout));
  expectNoTrace(server.printed.stderr.slice(start.stderr));
}

function matches(outcome: object, expected: object): boolean {
  try {
    expect(outcome).toMatchObject(expected);
    return true;
  } catch {
    return false;
  }
}

describe.each([
  ["a request", REQUEST_ROWS],
  ["a message", MESSAGE_ROWS],
  ["frames", FRAME_ROWS],
  ["floods and silence", FLOOD_ROWS],
  ["protobuf", PROTOBUF_ROWS],
  ["fields", FIELD_ROWS],
  ["VerifyToken of", TOKEN_ROWS],
])("%s:", (_topic, rows) => {
  test.each(rows.map((row) => [row.name, row] as const))("%s", (_name, row) => run(row));
});

test("nothing that any row sent is in what the server printed", () => {
  expect(server.printed.stderr).toContain("VerifyToken");
  expectNoTrace(server.printed.stdout + server.printed.stderr);
});

test("the runner notices a wrong answer, input in the log, and a server that has ended", async () => {
  const good: Row = { name: "a good call", act: exchange, expected: OK };
  await run(good);
  await expect(run({ ...good, expected: [MALFORMED, CLOSED] })).rejects.toThrow("toMatchObject");
  const logged: Row = { ...good, act: () => exchange(target, { extra: [["x-user-id", CANARY]] }) };
  await expect(run(logged)).rejects.toThrow(CANARY.toLowerCase());
  server.child.kill("SIGKILL");
  await server.exited;
  await expect(run(good)).rejects.toThrow("ECONNREFUSED");
});
