import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { access, chmod, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { pino } from "pino";
import { PrivateRedisError } from "../../../src/redis/private/errors.js";
import { type PrivateRedis, startPrivateRedis } from "../../../src/redis/private/private-redis.js";
import { processStart } from "../../../src/redis/private/processes.js";
import type { RedisServer } from "../../../src/redis/private/redis-server.js";
import { redisServer, temporaryFolder } from "../../harness.js";
import { command, until } from "./support.js";

let server: RedisServer;
let folder: { path: string; remove: () => Promise<void> };
let started: PrivateRedis[];
let owners: ChildProcess[];
let lines: string[];

beforeAll(async () => {
  server = await redisServer();
}, 120_000);

beforeEach(async () => {
  folder = await temporaryFolder();
  started = [];
  owners = [];
  lines = [];
});

afterEach(async () => {
  await Promise.all(started.map((redis) => redis.stop()));
  for (const owner of owners) {
    if (owner.exitCode !== null || owner.signalCode !== null) continue;
    owner.kill("SIGTERM");
    await once(owner, "exit");
  }
  await folder.remove();
});

async function start(dataDir = join(folder.path, "data"), predecessorLimitMs?: number): Promise<PrivateRedis> {
  const redis = await startPrivateRedis({
    server,
    dataDir,
    appendFsync: "everysec",
    predecessorLimitMs,
    log: pino({ level: "debug", base: null }, { write: (line) => lines.push(readable(line)) }),
  });
  started.push(redis);
  return redis;
}

/** Another process that starts a Redis in the folder, and what it printed. */
/** `warn text` of a JSON line. */
function readable(line: string): string {
  const { level, msg } = JSON.parse(line) as { level: number; msg: string };
  return `${pino.levels.labels[level]} ${msg}`;
}

async function startOwner(dataDir: string): Promise<{ owner: ChildProcess; answer: Record<string, string> }> {
  const { owner, output } = spawnOwner(dataDir);
  for await (const line of createInterface({ input: output }))
    return { owner, answer: JSON.parse(line) as Record<string, string> };
  throw new Error("the owner printed nothing");
}

function spawnOwner(dataDir: string): { owner: ChildProcess; output: Readable } {
  const args = [join(import.meta.dirname, "owner.js"), JSON.stringify(server), dataDir];
  const owner = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  owners.push(owner);
  return { owner, output: owner.stdout };
}

async function redisPid(socketPath: string): Promise<number> {
  const info = String(await command(socketPath, "INFO", "server"));
  return Number(/process_id:(\d+)/.exec(info)?.[1]);
}

async function writeMany(socketPath: string): Promise<void> {
  const script = "for i = 1, 5000 do redis.call('SET', 'k' .. i, i) end return 'ok'";
  expect(await command(socketPath, "EVAL", script, "0")).toBe("ok");
}

describe("the data", () => {
  test("survives a stop and a start", async () => {
    const first = await start();
    await writeMany(first.socketPath);
    await first.stop();
    const second = await start();
    expect(await command(second.socketPath, "DBSIZE")).toBe(5000);
  });

  test("survives a SIGKILL of Redis, which is then started again", async () => {
    const redis = await start();
    await writeMany(redis.socketPath);
    const pid = await redisPid(redis.socketPath);
    process.kill(pid, "SIGKILL");
    await until(() => lines.includes("info Redis answers again"));
    expect(await redisPid(redis.socketPath)).not.toBe(pid);
    expect(await command(redis.socketPath, "DBSIZE")).toBe(5000);
    expect(lines.join("\n")).toMatch(/error Redis ended by itself and is started again in 0\.2 s: it got signal 9/);
  });

  test("survives a SIGKILL of the owner, whose Redis ends with it", async () => {
    const dataDir = join(folder.path, "data");
    const { owner, answer } = await startOwner(dataDir);
    const socketPath = answer["socketPath"] ?? "";
    await writeMany(socketPath);
    const pid = await redisPid(socketPath);
    owner.kill("SIGKILL");
    await once(owner, "exit");
    // At once, so that the new owner meets the old Redis while it ends.
    const redis = await start(dataDir);
    expect(await processStart(pid)).toBeUndefined();
    expect(await redisPid(redis.socketPath)).not.toBe(pid);
    expect(await command(redis.socketPath, "DBSIZE")).toBe(5000);
  });
});

describe("one folder", () => {
  test("has one owner: a second process is refused and the first is unharmed", async () => {
    const dataDir = join(folder.path, "data");
    const redis = await start(dataDir);
    const pid = await redisPid(redis.socketPath);
    const { answer } = await startOwner(dataDir);
    expect(answer["error"]).toBe(
      `PrivateRedisError: ${dataDir} is in use by process ${process.pid}: stop it, or choose another DATA_DIR.`,
    );
    expect(await redisPid(redis.socketPath)).toBe(pid);
  });

  test("has one owner even when many start at once on what a dead one left", async () => {
    const dataDir = await privateFolder("data");
    await writeFile(join(dataDir, "owner.7"), "999999999 gone\n");
    const answers = await Promise.all(Array.from({ length: 6 }, () => startOwner(dataDir)));
    const winners = answers.filter(({ answer }) => answer["socketPath"] !== undefined);
    expect(winners).toHaveLength(1);
    for (const { answer } of answers)
      if (answer["error"] !== undefined) expect(answer["error"]).toContain("is in use by process");
  });

  test.each([
    ["a process that is gone", "999999999 gone\n"],
    ["a live stranger with the number of the dead owner", `${process.ppid} another-start\n`],
    ["nobody, being empty after a power cut", ""],
  ])("is taken over when its lock names %s", async (_, content) => {
    const dataDir = await privateFolder("data");
    await writeFile(join(dataDir, "owner.7"), content);
    const redis = await start(dataDir);
    expect(await command(redis.socketPath, "PING")).toBe("PONG");
    await expect(access(join(dataDir, "owner.7"))).rejects.toThrow("ENOENT");
    expect(await readFile(join(dataDir, "owner.8"), "utf8")).toContain(`${process.pid} `);
  });

  test("is refused while a Redis whose owner is unknown answers on its socket", async () => {
    const first = await start();
    const dataDir = dirname(first.socketPath);
    await writeFile(join(dataDir, "owner.1"), "free\n");
    await expect(start(dataDir, 300)).rejects.toThrow(`Another Redis is still running on ${dataDir}`);
    expect(await command(first.socketPath, "PING")).toBe("PONG");
  });

  test("can be used again by the same process once it was stopped, any number of times", async () => {
    for (let round = 0; round < 3; round++) {
      const redis = await start();
      await redis.stop();
      await redis.stop();
      await expect(access(redis.socketPath)).rejects.toThrow("ENOENT");
    }
  });
});

describe("the data folder", () => {
  test("is created so that only its owner can read it, and so is the socket", async () => {
    const redis = await start();
    expect((await stat(join(folder.path, "data"))).mode & 0o777).toBe(0o700);
    expect((await stat(redis.socketPath)).mode & 0o777).toBe(0o700);
  });

  test("is tightened when it is empty and others can read it", async () => {
    const dataDir = await privateFolder("data", 0o755);
    await start(dataDir);
    expect((await stat(dataDir)).mode & 0o777).toBe(0o700);
  });

  test("is refused, unchanged, when others can read it and it holds something else", async () => {
    const dataDir = await privateFolder("data", 0o755);
    await writeFile(join(dataDir, "letter.txt"), "");
    const refusal = start(dataDir);
    await expect(refusal).rejects.toThrow(PrivateRedisError);
    await expect(refusal).rejects.toThrow(`${dataDir} can be read by others and holds other files`);
    expect((await stat(dataDir)).mode & 0o777).toBe(0o755);
  });

  test("may have a path longer than a socket's can be, and characters of every kind", async () => {
    const dataDir = join(folder.path, "l".repeat(80), "o".repeat(80), `a "quoted" 'name' with $HOME and é`);
    const redis = await start(dataDir);
    expect(Buffer.byteLength(redis.socketPath)).toBeLessThanOrEqual(100);
    expect((await stat(dirname(redis.socketPath))).mode & 0o777).toBe(0o700);
    await writeMany(redis.socketPath);
    await redis.stop();
    await expect(access(dirname(redis.socketPath))).rejects.toThrow("ENOENT");
    const again = await start(dataDir);
    expect(again.socketPath).toBe(redis.socketPath);
    expect(await command(again.socketPath, "DBSIZE")).toBe(5000);
  });

  test("with too long a path is refused when others prepared the folder of its socket", async () => {
    const dataDir = join(folder.path, "l".repeat(80), "o".repeat(80));
    const first = await start(dataDir);
    const { socketPath } = first;
    await first.stop();
    await mkdir(dirname(socketPath));
    await chmod(dirname(socketPath), 0o777);
    await expect(start(dataDir)).rejects.toThrow(
      `${dirname(socketPath)}, for the socket of ${dataDir}, is not a folder`,
    );
    await chmod(dirname(socketPath), 0o700);
    expect((await start(dataDir)).socketPath).toBe(socketPath);
  });

  test("that cannot be made is an error with its name", async () => {
    await writeFile(join(folder.path, "file"), "");
    const dataDir = join(folder.path, "file", "data");
    const refusal = start(dataDir);
    await expect(refusal).rejects.toThrow(PrivateRedisError);
    await expect(refusal).rejects.toThrow(`A Redis cannot be run on ${dataDir}: ENOTDIR`);
  });
});

describe("a Redis", () => {
  test("is durable, never evicts, and has no port", async () => {
    const { socketPath } = await start();
    const setting = async (name: string): Promise<unknown> => {
      const [, value] = (await command(socketPath, "CONFIG", "GET", name)) as string[];
      return value;
    };
    expect(await setting("appendonly")).toBe("yes");
    expect(await setting("appendfsync")).toBe("everysec");
    expect(await setting("maxmemory-policy")).toBe("noeviction");
    expect(await setting("port")).toBe("0");
  });

  test("that ends while it starts is an error with its last words", async () => {
    const dataDir = await privateFolder("data");
    await mkdir(join(dataDir, "appendonlydir"));
    await writeFile(join(dataDir, "appendonlydir", "appendonly.aof.manifest"), "nonsense\n");
    const refusal = start(dataDir);
    await expect(refusal).rejects.toThrow(PrivateRedisError);
    await expect(refusal).rejects.toThrow(/Redis ended while it was starting: it ended with status 1; .*manifest/s);
  });

  test("that cannot be started again is retried until it can", async () => {
    const redis = await start();
    const dataDir = dirname(redis.socketPath);
    const manifest = join(dataDir, "appendonlydir", "appendonly.aof.manifest");
    const good = await readFile(manifest);
    await writeFile(manifest, "nonsense\n");
    process.kill(await redisPid(redis.socketPath), "SIGKILL");
    await until(() => lines.some((line) => line.includes("is started again in 0.8 s")));
    await writeFile(manifest, good);
    await until(() => lines.includes("info Redis answers again"));
    expect(await command(redis.socketPath, "PING")).toBe("PONG");
  });

  test("whose owner is killed while it starts leaves nothing in the way of the next owner", async () => {
    const dataDir = await privateFolder("data");
    const { owner } = spawnOwner(dataDir);
    await until(() =>
      readFile(join(dataDir, "redis.group")).then(
        (text) => text.length > 0,
        () => false,
      ),
    );
    owner.kill("SIGKILL");
    await once(owner, "exit");
    const redis = await start(dataDir);
    expect(await command(redis.socketPath, "PING")).toBe("PONG");
  });

  test("that gets SIGTERM together with its wrapper ends in order, and is started again", async () => {
    const redis = await start();
    await writeMany(redis.socketPath);
    process.kill(-Number(await readFile(join(dirname(redis.socketPath), "redis.group"), "utf8")), "SIGTERM");
    await until(() => lines.includes("info Redis answers again"));
    expect(lines.join("\n")).toMatch(
      /error Redis ended by itself and is started again in 0\.2 s: it ended with status 0/,
    );
    expect(await command(redis.socketPath, "DBSIZE")).toBe(5000);
  });

  test("whose wrapper is killed ends too, and is started again", async () => {
    const redis = await start();
    await writeMany(redis.socketPath);
    const pid = await redisPid(redis.socketPath);
    const wrapper = Number(await readFile(join(dirname(redis.socketPath), "redis.group"), "utf8"));
    process.kill(wrapper, "SIGKILL");
    await until(() => lines.includes("info Redis answers again"));
    expect(await processStart(pid)).toBeUndefined();
    expect(await command(redis.socketPath, "DBSIZE")).toBe(5000);
  });

  test("reports its warnings as warnings and its greetings as information", async () => {
    const redis = await start();
    await redis.stop();
    expect(lines.join("\n")).toMatch(/^debug redis: .*ready to accept connections/im);
    expect(lines.filter((line) => /^(warn|error)/.test(line) && !/overcommit|Transparent|backlog/i.test(line))).toEqual(
      [],
    );
  });
});

async function privateFolder(name: string, mode = 0o700): Promise<string> {
  const path = join(folder.path, name);
  await mkdir(path);
  await chmod(path, mode);
  return path;
}
