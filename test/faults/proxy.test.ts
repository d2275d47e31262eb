// Each fault of the proxy does to a connection to a real Redis what its name says.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { Redis } from "ioredis";
import { eventually, startService } from "../harness.js";
import { clients as grpcClients } from "../server-process.js";
import { hasHeaders } from "./http2.js";
import { startProxy } from "./proxy.js";
import { type Standalone, startStandalone } from "./standalone.js";

let redis: Standalone;
const clients: (Redis | Socket)[] = [];
beforeAll(async () => {
  redis = await startStandalone({ proxied: true });
});
afterEach(async () => {
  for (const client of clients.splice(0)) {
    if (!(client instanceof Redis)) client.destroy();
    else if (client.status !== "end") client.disconnect();
  }
  await redis.proxy.restore();
  await eventually(() => expect(redis.proxy.connectionCount).toBe(0));
});
afterAll(() => redis.stop());

/** A connection that tries nothing twice. */
function client(connectionName = "apitokend-test"): Redis {
  const own = new Redis(redis.proxy.port, "127.0.0.1", {
    connectionName,
    retryStrategy: () => null,
    disableClientInfo: true,
    enableReadyCheck: false,
  });
  own.on("error", () => undefined);
  clients.push(own);
  return own;
}

async function socket(): Promise<Socket> {
  const own = connect({ port: redis.proxy.port, host: "127.0.0.1", noDelay: true });
  clients.push(own);
  await once(own, "connect");
  return own;
}

/** "open" when the promise is not settled by the time that Redis has answered others. */
async function outcomeOf(promise: Promise<unknown>): Promise<unknown> {
  const settled = promise.then(
    (value) => value,
    (error: Error) => error.message,
  );
  for (let turn = 0; turn < 20; turn++) await redis.node.command("PING");
  return Promise.race([settled, Promise.resolve("open")]);
}

test("without a fault everything comes through, however much it is", async () => {
  const own = await socket();
  const pieces: Buffer[] = [];
  own.on("data", (bytes: Buffer) => pieces.push(bytes));
  const text = randomBytes(4_000_000).toString("hex");
  own.write(`*2\r\n$4\r\nECHO\r\n$${text.length}\r\n${text}\r\n`);
  await eventually(() => expect(pieces.at(-1)?.subarray(-2).toString()).toBe("\r\n"));
  expect(Buffer.concat(pieces).toString() === `$${text.length}\r\n${text}\r\n`).toBe(true);
});

test("a request whose reply is cut was carried out, and its connection is closed", async () => {
  const before = redis.proxy.cutCount;
  redis.proxy.cutReplies((request) => request.includes("incr"));
  const own = client();
  expect(await own.set("counter", 1)).toBe("OK");
  await expect(own.incr("counter")).rejects.toThrow("Connection is closed");
  expect(redis.proxy.cutCount).toBe(before + 1);
  expect(await redis.node.command("GET", "counter")).toBe("2");
  await redis.proxy.restore();
  expect(await client().incr("counter")).toBe(3);
});

test("requests in one burst are all carried out when the reply of one is cut", async () => {
  redis.proxy.cutReplies((request) => request.includes("last"));
  const own = client();
  await own.ping();
  const answers = ["first", "second", "last"].map((key) => own.set(key, 1));
  expect((await Promise.allSettled(answers)).at(-1)?.status).toBe("rejected");
  await eventually(async () => expect(await redis.node.command("EXISTS", "first", "second", "last")).toBe(3));
});

test("in a black hole nothing is answered, nothing is closed, and all arrives when it ends", async () => {
  const [old, closing] = [client(), await socket()];
  await old.ping();
  redis.proxy.blackHole();
  const [onOld, onNew] = [old.set("held", "old"), client().ping()];
  closing.end("*3\r\n$3\r\nSET\r\n$6\r\nclosed\r\n$1\r\n1\r\n");
  expect(await outcomeOf(onOld)).toBe("open");
  expect(await outcomeOf(onNew)).toBe("open");
  expect(await redis.node.command("EXISTS", "held", "closed")).toBe(0);
  await redis.proxy.restore();
  expect(await Promise.all([onOld, onNew])).toEqual(["OK", "PONG"]);
  await eventually(async () => expect(await redis.node.command("EXISTS", "held", "closed")).toBe(2));
});

test("a server that dies in a black hole is not heard of until it ends", async () => {
  const own = client();
  await own.ping();
  redis.proxy.blackHole();
  const answer = own.ping();
  await redis.node.restart();
  expect(await outcomeOf(answer)).toBe("open");
  await redis.proxy.restore();
  await expect(answer).rejects.toThrow("Connection is closed");
});

test("a black hole takes only the connections that are meant", async () => {
  const [service, other] = [client("apitokend-writes"), client("other")];
  redis.proxy.blackHole((opening) => /setname\r\n\$\d+\r\napitokend/.test(opening));
  const answer = service.ping();
  expect(await other.ping()).toBe("PONG");
  expect(await outcomeOf(answer)).toBe("open");
});

test("a delay is added to each way, and to commands at the same time once", async () => {
  const own = client();
  await own.ping();
  redis.proxy.delay(100);
  const startedMs = performance.now();
  const answers = Array.from({ length: 20 }, async (_, turn) => {
    for (let i = 0; i < turn; i++) await Promise.resolve();
    return own.ping();
  });
  await Promise.all(answers);
  const tookMs = performance.now() - startedMs;
  expect(tookMs).toBeGreaterThanOrEqual(200);
  expect(tookMs).toBeLessThan(400);
});

test("segments of one byte arrive one by one", async () => {
  const own = await socket();
  redis.proxy.segments(1);
  const pieces: string[] = [];
  own.on("data", (bytes: Buffer) => pieces.push(bytes.toString()));
  own.write("*2\r\n$4\r\nECHO\r\n$26\r\nabcdefghijklmnopqrstuvwxyz\r\n");
  await eventually(() => expect(pieces.join("")).toBe("$26\r\nabcdefghijklmnopqrstuvwxyz\r\n"));
  expect(pieces.length).toBeGreaterThan(20);
});

test("a reset ends all connections that there are, and only those", async () => {
  const own = await socket();
  own.write("PING\r\n");
  await once(own, "data");
  const ending = once(own, "error");
  redis.proxy.reset();
  const [error] = await ending;
  expect(error).toMatchObject({ code: "ECONNRESET" });
  expect(await client().ping()).toBe("PONG");
});

test("refusing is for new connections", async () => {
  const own = client();
  await own.ping();
  redis.proxy.refuse();
  await expect(socket()).rejects.toMatchObject({ code: "ECONNREFUSED" });
  expect(await own.ping()).toBe("PONG");
  await redis.proxy.restore();
  expect(await client().ping()).toBe("PONG");
});

test("a gRPC call whose answer is cut was carried out", async () => {
  const service = await startService();
  const proxy = await startProxy({ port: Number(service.address.split(":")[1]) });
  const { tokens, close } = grpcClients(`127.0.0.1:${proxy.port}`);
  try {
    proxy.segments(1);
    await tokens.createToken({ name: "first" });
    await proxy.restore();
    proxy.cutReplies(hasHeaders, hasHeaders);
    await expect(tokens.createToken({ name: "second" })).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(proxy.cutCount).toBe(1);
    const { apiTokens } = await service.tokens.listTokens({});
    expect(apiTokens.map(({ name }) => name)).toEqual(["first", "second"]);
  } finally {
    close();
    await proxy.stop();
    await service.stop();
  }
});
