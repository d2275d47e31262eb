// A Redis that may lose or evict tokens is not served from, at start and at run time; and what the outcome of a mutation
// is called when Redis fails in the middle of it.
import { connect as connectSocket, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { pino } from "pino";
import type { RenewCommand } from "../../src/domain/token-store.js";
import { generateUid, hashSecret } from "../../src/domain/token-string.js";
import { RedisConnection } from "../../src/redis/connection.js";
import { RedisTokenStore } from "../../src/redis/redis-token-store.js";
import { RedisWatch } from "../../src/redis/redis-watch.js";
import { type SelfCheckOptions, selfCheck } from "../../src/redis/self-check.js";
import { connect, eventually, startRedis, temporaryFolder } from "../harness.js";

let redis: Awaited<ReturnType<typeof startRedis>>;
const cleanups: (() => unknown)[] = [];
beforeEach(async () => {
  redis = await startRedis();
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await redis.stop();
});

const STRICT = { allowVolatile: false, allowUnverified: false, durability: "fast" } as const;
const check = (options: Partial<SelfCheckOptions> = {}) => selfCheck(redis.connection, { ...STRICT, ...options });
const configure = (name: string, value: string) => redis.client.config("SET", name, value);

/** A watch that has started, and what it said. */
async function watched(connection: RedisConnection, options: Partial<SelfCheckOptions> = {}) {
  const changes: boolean[] = [];
  const lines: string[] = [];
  const log = pino({ base: null }, { write: (line) => lines.push((JSON.parse(line) as { msg: string }).msg) });
  const watch = new RedisWatch(connection, { ...STRICT, ...options, log, listener: (is) => changes.push(is) });
  cleanups.push(() => watch.stop());
  await watch.start();
  return { watch, changes, lines };
}

const owner = { organizationId: "acme", userId: "alice" };
const storeOn = (connection: RedisConnection) =>
  new RedisTokenStore(connection, { lastUsedResolutionMs: 60_000, eventRetentionMs: 86_400_000 });
const create = (connection: RedisConnection, name: string) =>
  storeOn(connection).create({
    ...owner,
    actor: "user:alice",
    uid: generateUid("acme"),
    name,
    role: "",
    ttlMs: 60_000,
    secretHash: hashSecret("x"),
    replay: undefined,
    maxTokensPerUser: 10,
  });
const renewal = (name: string): RenewCommand => ({
  ...owner,
  actor: "user:alice",
  name,
  gracePeriodMs: 0,
  secretHash: hashSecret("y"),
  replay: undefined,
  etag: "",
});

test("the private Redis passes", async () => {
  expect(await check()).toEqual({ faults: [], warnings: [] });
});

test("a Redis that evicts keys is refused", async () => {
  await configure("maxmemory-policy", "allkeys-lru");
  expect((await check()).faults).toEqual(["maxmemory-policy is allkeys-lru: tokens would be evicted; set noeviction"]);
});

test("a Redis without append-only file is refused, or warned of when it is allowed", async () => {
  await configure("appendonly", "no");
  const text = "appendonly is off: tokens would not survive a restart (ALLOW_VOLATILE_REDIS=1)";
  expect(await check()).toEqual({ faults: [text], warnings: [] });
  expect(await check({ allowVolatile: true })).toEqual({ faults: [], warnings: [text] });
});

test("a Redis that does not let its settings be read is refused, or warned of when it is allowed", async () => {
  await redis.client.acl("SETUSER", "limited", "on", ">pw", "~*", "+@all", "-config");
  const limited = connectAs("limited", "pw");
  await eventually(() => expect(limited.connectionsMade).toBe(2));
  const text = "CONFIG GET is not permitted, so eviction and persistence cannot be verified (ALLOW_UNVERIFIED_REDIS=1)";
  expect(await selfCheck(limited, STRICT)).toEqual({ faults: [text], warnings: [] });
  expect(await selfCheck(limited, { ...STRICT, allowUnverified: true })).toEqual({ faults: [], warnings: [text] });
});

test("a database that cannot be selected is refused, and not taken for database 0", async () => {
  const address = { kind: "standalone", options: { path: redis.socketPath, db: 99 } } as const;
  const connection = new RedisConnection(address, { awaitsReplicas: true });
  cleanups.push(() => connection.close());
  const { faults } = await eventually(() => selfCheck(connection, STRICT));
  expect(faults).toEqual(["database 99 cannot be selected: does it exist, and may this user select it?"]);
});

test("a replica is refused", async () => {
  await redis.client.replicaof("127.0.0.1", 1);
  expect((await check()).faults).toEqual(["this Redis is a slave; the master is needed"]);
});

test("a wrong password ends the start at once, and is named", async () => {
  await configure("requirepass", "right");
  const refused = connectAs("default", "wrong");
  const watch = new RedisWatch(refused, { ...STRICT, log: pino({ level: "silent" }), listener: () => {} });
  cleanups.push(() => watch.stop());
  await expect(watch.start()).rejects.toThrow(/^Redis does not answer: (WRONGPASS|NOAUTH)$/);
});

function connectAs(username: string, password: string): RedisConnection {
  const address = { kind: "standalone", options: { path: redis.socketPath, username, password } } as const;
  const connection = new RedisConnection(address, { awaitsReplicas: true });
  cleanups.push(() => connection.close());
  return connection;
}

test("a setting that is changed at run time ends serving at the next reconnect, and mutations with it", async () => {
  const { changes, lines } = await watched(redis.connection);
  await create(redis.connection, "before");
  await configure("maxmemory-policy", "volatile-lru");
  await redis.client.client("KILL", "TYPE", "normal", "SKIPME", "no").catch(() => {});
  await eventually(() => expect(changes).toEqual([true, false]), 2000);
  expect(lines.at(-1)).toBe("not serving: maxmemory-policy is volatile-lru: tokens would be evicted; set noeviction");
  await expect(create(redis.connection, "after")).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
  expect((await storeOn(redis.connection).get(owner, "before"))?.name).toBe("before");
  await configure("maxmemory-policy", "noeviction");
  await eventually(() => expect(changes).toEqual([true, false, true]), 2000);
  expect(await create(redis.connection, "after")).toMatchObject({ outcome: "created" });
});

test("a Redis that hangs: reads fail within 600 ms, mutations are of unknown outcome, none happens afterwards", async () => {
  const { changes } = await watched(redis.connection);
  await create(redis.connection, "my_token");
  const info = await redis.client.info("server");
  const pid = Number(/process_id:(\d+)/.exec(info)?.[1]);
  process.kill(pid, "SIGSTOP");
  try {
    const startMs = performance.now();
    const read = expect(storeOn(redis.connection).get(owner, "my_token")).rejects.toMatchObject({
      reason: "STORE_UNAVAILABLE",
    });
    const store = storeOn(redis.connection);
    await expect(store.renew(renewal("my_token"))).rejects.toMatchObject({ reason: "OUTCOME_UNKNOWN" });
    await read;
    expect(performance.now() - startMs).toBeLessThan(600);
    await eventually(() => expect(changes).toEqual([true, false]), 2000);
    // Past the not-after time of the renewal, which still lies in the socket.
    await eventually(() => expect(performance.now() - startMs).toBeGreaterThan(800));
  } finally {
    process.kill(pid, "SIGCONT");
  }
  await eventually(() => expect(changes).toEqual([true, false, true]), 2000);
  expect((await storeOn(redis.connection).get(owner, "my_token"))?.generation).toBe(1);
});

test("a reply that is lost: the mutation is sent again, runs once, and its answer is the first one's", async () => {
  await create(redis.connection, "my_token");
  const proxy = await startProxy(redis.socketPath);
  const connection = await connect(proxy.path);
  cleanups.push(() => connection.close());
  await storeOn(connection).get(owner, "my_token");
  for (let round = 2; round < 12; round += 1) {
    proxy.cutNextReplyTo("evalsha");
    const answer = await storeOn(connection).renew(renewal("my_token"));
    expect(answer).toMatchObject({ outcome: "renewed", token: { generation: round } });
    expect(proxy.cuts()).toBe(round - 1);
    expect((await storeOn(redis.connection).get(owner, "my_token"))?.generation).toBe(round);
  }
});

test("a reply that is lost for good is an unknown outcome, never 'nothing was changed'", async () => {
  await create(redis.connection, "my_token");
  const proxy = await startProxy(redis.socketPath);
  const connection = await connect(proxy.path);
  cleanups.push(() => connection.close());
  // So that the next one finds its script.
  await storeOn(connection).renew(renewal("my_token"));
  proxy.cutNextReplyTo("evalsha", () => proxy.refuseConnections());
  await expect(storeOn(connection).renew(renewal("my_token"))).rejects.toMatchObject({ reason: "OUTCOME_UNKNOWN" });
  expect((await storeOn(redis.connection).get(owner, "my_token"))?.generation).toBe(3);
  await expect(storeOn(connection).renew(renewal("my_token"))).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
  expect((await storeOn(redis.connection).get(owner, "my_token"))?.generation).toBe(3);
});

test("a mutation that Redis refuses has not happened, and is not called unknown", async () => {
  await create(redis.connection, "my_token");
  await configure("min-replicas-to-write", "1");
  await expect(storeOn(redis.connection).renew(renewal("my_token"))).rejects.toMatchObject({
    reason: "STORE_UNAVAILABLE",
    cause: "NOREPLICAS",
  });
  await configure("min-replicas-to-write", "0");
  expect((await storeOn(redis.connection).get(owner, "my_token"))?.generation).toBe(1);
});

test("the connections that lead to different servers are noticed and made anew", async () => {
  const other = await startRedis();
  cleanups.push(() => other.stop());
  const proxy = await startProxy(redis.socketPath);
  const connection = await connect(proxy.path);
  cleanups.push(() => connection.close());
  const { changes, lines } = await watched(connection);
  proxy.leadTo(other.socketPath);
  const clientsOf = () => [...connection.reads.all(), ...connection.writes.all()].map(({ redis: client }) => client);
  clientsOf()[1]?.disconnect(true);
  await eventually(() => expect(lines).toContain("not serving: the connections lead to different servers"), 3000);
  await eventually(() => expect(changes).toEqual([true, false, true]), 3000);
  const [one = "", two = ""] = await Promise.all(clientsOf().map((client) => client.info("server")));
  expect(/run_id:\w+/.exec(one)?.[0]).toBe(/run_id:\w+/.exec(two)?.[0]);
});

/** Stands between a client and Redis, and can lose a reply after Redis has carried the command out. */
async function startProxy(target: string) {
  const folder = await temporaryFolder();
  const path = join(folder.path, "proxy.sock");
  let destination = target;
  let command: string | undefined;
  let onCut: (() => void) | undefined;
  let cuts = 0;
  const sockets = new Set<Socket>();
  const server: Server = createServer((client) => {
    const upstream = connectSocket(destination);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    }
    let isCutting = false;
    client.on("data", (bytes) => {
      isCutting ||= command !== undefined && bytes.toString("latin1").includes(`\r\n${command}\r\n`);
      upstream.write(bytes);
    });
    upstream.on("data", (bytes) => {
      if (!isCutting) return void client.write(bytes);
      cuts += 1;
      command = undefined;
      onCut?.();
      client.destroy();
      upstream.destroy();
    });
    client.on("close", () => upstream.destroy());
    upstream.on("close", () => client.destroy());
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  cleanups.push(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await folder.remove();
  });
  return {
    path,
    cuts: () => cuts,
    cutNextReplyTo: (name: string, then?: () => void) => {
      command = name;
      onCut = then;
    },
    leadTo: (other: string) => {
      destination = other;
    },
    refuseConnections: () => server.close(),
  };
}
