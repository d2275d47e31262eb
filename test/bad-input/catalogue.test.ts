// Bad input of every kind against a real server process in development mode; the runner says what each row proves.
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { startRedis } from "../harness.js";
import { clients, type ServerProcess, startServerProcess } from "../server-process.js";
import { FIELD_ROWS } from "./field-rows.js";
import { FLOOD_ROWS } from "./flood-rows.js";
import { FRAME_ROWS } from "./frame-rows.js";
import { exchange, type Target } from "./grpc.js";
import { MESSAGE_ROWS } from "./message-rows.js";
import { PROTOBUF_ROWS } from "./protobuf-rows.js";
import { REQUEST_ROWS } from "./request-rows.js";
import { CANARY, CLOSED, MALFORMED, OK, type Row } from "./row.js";
import { expectNoTrace, run } from "./runner.js";
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
  await server.stop();
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

const runHere = (row: Row) => run(row, { server, target, sockets, presented: [], serves });

describe.each([
  ["a request", REQUEST_ROWS],
  ["a message", MESSAGE_ROWS],
  ["frames", FRAME_ROWS],
  ["floods and silence", FLOOD_ROWS],
  ["protobuf", PROTOBUF_ROWS],
  ["fields", FIELD_ROWS],
  ["VerifyToken of", TOKEN_ROWS],
])("%s:", (_topic, rows) => {
  test.each(rows.map((row) => [row.name, row] as const))("%s", (_name, row) => runHere(row));
});

test("nothing that any row sent is in what the server printed", () => {
  expect(server.printed.stderr).toContain("VerifyToken");
  expectNoTrace(server.printed.stdout + server.printed.stderr);
});

test("the runner notices a wrong answer, input in the log, and a server that has ended", async () => {
  const good: Row = { name: "a good call", act: exchange, expected: OK };
  await runHere(good);
  await expect(runHere({ ...good, expected: [MALFORMED, CLOSED] })).rejects.toThrow("toMatchObject");
  const logged: Row = { ...good, act: () => exchange(target, { extra: [["x-user-id", CANARY]] }) };
  await expect(runHere(logged)).rejects.toThrow(CANARY.toLowerCase());
  await server.stop();
  await expect(runHere(good)).rejects.toThrow("ECONNREFUSED");
});
