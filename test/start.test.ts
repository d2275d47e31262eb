// The built server as a newcomer starts it: `npm start`, a request, a signal; and what it leaves behind.
import { existsSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectSocket, createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { eventually, startRedis, temporaryFolder } from "./harness.js";
import { clients, type ServerProcess, startServerProcess } from "./server-process.js";

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
const running: ServerProcess[] = [];
beforeEach(async () => {
  folder = await temporaryFolder();
});
afterEach(async () => {
  for (const { child } of running.splice(0)) child.kill("SIGKILL");
  await eventually(() => expect(existsSync(join(folder.path, "data/redis.sock"))).toBe(false));
  await folder.remove();
});

/** A server process that keeps its data in the test's folder and does not outlive the test. */
function start(env: Record<string, string>, command?: string[]) {
  const server = startServerProcess({ DATA_DIR: join(folder.path, "data"), ...env }, command);
  running.push(server);
  return server;
}

test("npm start serves, tells a request to try, stops on SIGTERM, and the next start has its tokens", async () => {
  const first = start({}, ["npm", "start"]);
  const one = clients(await first.listening());
  expect(first.printed.stdout).toContain("npx buf curl");
  const { token } = await one.tokens.createToken({ name: "my_token" });
  one.close();
  await first.stop("SIGTERM");
  expect(existsSync(join(folder.path, "data/redis.sock"))).toBe(false);

  const second = start({});
  const two = clients(await second.listening());
  expect(await two.verification.verifyToken({ token })).toMatchObject({ active: true });
  two.close();
  expect(await second.stop("SIGINT")).toBe(0);
});

test("a server that is SIGKILLed takes its Redis with it, and loses nothing that it acknowledged", async () => {
  const first = start({});
  const one = clients(await first.listening());
  const names = Array.from({ length: 50 }, (_, i) => `t${i}`);
  const created = await Promise.all(names.map((name) => one.tokens.createToken({ name })));
  await first.stop("SIGKILL");
  one.close();

  const second = start({});
  const two = clients(await second.listening());
  for (const { token } of created)
    expect(await two.verification.verifyToken({ token })).toMatchObject({ active: true });
  two.close();
});

test("with REDIS_URL it uses that Redis and starts none", async () => {
  const redis = await startRedis();
  const server = start({ REDIS_URL: `unix://${redis.socketPath}` });
  const { tokens, close } = clients(await server.listening());
  await tokens.createToken({ name: "my_token" });
  expect(await redis.client.keys("*:t:*")).toHaveLength(1);
  expect(existsSync(join(folder.path, "data"))).toBe(false);
  close();
  expect(await server.stop("SIGTERM")).toBe(0);
  await redis.stop();
});

test("a running call ends before the server does", async () => {
  const redis = await startRedis();
  const server = start({ REDIS_URL: `unix://${redis.socketPath}` });
  const { tokens, close } = clients(await server.listening());
  await tokens.listTokens({});
  await redis.client.client("PAUSE", 300, "WRITE");
  const answer = tokens.createToken({ name: "my_token" });
  await eventually(async () => expect(await redis.client.client("LIST")).toContain("cmd=eval"));
  server.child.kill("SIGTERM");
  expect((await answer).apiToken?.name).toBe("my_token");
  expect(await server.exited).toBe(0);
  close();
  await redis.stop();
});

test("peers that hold their connections open do not hold the end of the server up", async () => {
  const redis = await startRedis();
  const server = start({ REDIS_URL: `unix://${redis.socketPath}` });
  const address = await server.listening();
  const port = Number(address.split(":").at(-1));
  const idle = connectSocket(port, "127.0.0.1").on("error", () => {});
  // A client that does not close its connection when it is told that the server goes away.
  const session = connectHttp2(`http://${address}`).on("error", () => {});
  const stream = session.request({
    ":method": "POST",
    ":path": "/apitoken.v1.ApiTokenService/ListTokens",
    "content-type": "application/grpc",
  });
  stream.end(Buffer.alloc(5));
  await new Promise((resolve) => stream.once("response", resolve));
  const startMs = performance.now();
  expect(await server.stop("SIGTERM")).toBe(0);
  expect(performance.now() - startMs).toBeLessThan(5000);
  idle.destroy();
  session.destroy();
  await redis.stop();
});

test("SIGTERM ends a server that is still starting", async () => {
  const silent = createServer(() => {});
  const path = join(folder.path, "silent.sock");
  await new Promise<void>((resolve) => silent.listen(path, resolve));
  const connected = new Promise((resolve) => silent.once("connection", resolve));
  const server = start({ REDIS_URL: `unix://${path}` });
  await connected;
  const startMs = performance.now();
  await server.stop("SIGTERM");
  expect(performance.now() - startMs).toBeLessThan(2000);
  silent.close();
});

const onLinux = existsSync("/dev/full") ? test : test.skip;

onLinux("a log that cannot be written costs lines, not the service", async () => {
  const server = start({}, ["sh", "-c", `exec "${process.execPath}" dist/apitokend.js 2>/dev/full`]);
  const { tokens, close } = clients(await server.listening());
  for (let i = 0; i < 50; i += 1) await tokens.listTokens({});
  close();
  expect(await server.stop("SIGTERM")).toBe(0);
});

onLinux("a reader of the log that stalls holds up neither calls nor the end", async () => {
  const pipe = join(folder.path, "log");
  const command = `mkfifo "${pipe}"; sleep 60 < "${pipe}" & exec "${process.execPath}" dist/apitokend.js 2> "${pipe}"`;
  const server = start({}, ["sh", "-c", command]);
  const { tokens, close } = clients(await server.listening());
  for (let i = 0; i < 600; i += 1) await tokens.listTokens({}).catch(() => {});
  await tokens.createToken({ name: "my_token" });
  close();
  server.child.kill("SIGTERM");
  const ended = new Promise((resolve) => server.child.once("exit", resolve));
  await ended;
});

test("a wrong configuration ends it at once, with every fault and exit code 1", async () => {
  const server = start({ MAX_TTL: "never", JWT_ISSUER: "x" });
  expect(await server.exited).toBe(1);
  expect(server.printed.stderr).toBe(`apitokend does not start:
  - JWT_AUDIENCE is missing: JWTs for other services must not be accepted
  - JWT_JWKS_URL or JWT_JWKS_FILE is missing: only an https:// issuer tells its own keys
  - MAX_TTL must be from 1m to 36500d, such as 365d
`);
});

test("an address in use ends it with that reason, and its Redis too", async () => {
  const first = start({});
  const address = await first.listening();
  const second = start({ LISTEN_ADDRESS: address, DATA_DIR: join(folder.path, "other") });
  expect(await second.exited).toBe(1);
  expect(second.printed.stderr).toContain("EADDRINUSE");
  expect(existsSync(join(folder.path, "other/redis.sock"))).toBe(false);
});

test("no token, secret or request_id reaches the log, the standard output or Redis", async () => {
  const redis = await startRedis();
  const server = start({ REDIS_URL: `unix://${redis.socketPath}`, LOG_LEVEL: "trace" });
  const { tokens, verification, close } = clients(await server.listening());
  const requestId = crypto.randomUUID();
  const { token } = await tokens.createToken({ name: "my_token", requestId });
  await tokens.createToken({ name: "my_token", requestId });
  const renewed = await tokens.renewToken({ name: "my_token", gracePeriod: { seconds: 60n, nanos: 0 } });
  await verification.verifyToken({ token });
  await tokens.createToken({ name: "my_token", requestId, role: "other" }).catch(() => {});
  const keys = await redis.client.keys("*");
  const stored = await Promise.all(keys.map((key) => redis.client.dump(key)));
  close();
  await server.stop("SIGTERM");
  const everything = [server.printed.stdout, server.printed.stderr, ...keys, ...stored].join("\n");
  expect(server.printed.stderr).toContain("RenewToken");
  for (const secret of [token, renewed.token]) {
    expect(everything).not.toContain(secret);
    expect(everything).not.toContain(secret.slice(33, 76));
  }
  expect(everything).not.toContain(requestId);
  await redis.stop();
});
