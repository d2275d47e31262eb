// A Redis that asks for a password, and every place where something that it was told may turn up: its keys and values,
// its files, its log, and all commands as MONITOR sees them.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { Redis } from "ioredis";
import { eventually, redisServer, temporaryFolder } from "../harness.js";

const USER = "canary";

export interface WatchedRedis {
  readonly url: string;
  readonly process: ChildProcess;
  /** A connection of the test's own. */
  readonly control: Redis;
  /** What there is to read now, by place. */
  places(): Promise<Readonly<Record<string, string>>>;
  stop(): Promise<void>;
}

export async function startWatchedRedis(password: string): Promise<WatchedRedis> {
  const folder = await temporaryFolder();
  const port = await freePort();
  await mkdir(join(folder.path, "data"));
  // Without compression a search sees what is in the files.
  const settings = `port ${port}\nbind 127.0.0.1\ndir ${join(folder.path, "data")}\nsave ""\nrdbcompression no
appendonly yes\nappendfsync always\nloglevel debug\nuser default off\nuser ${USER} on >${password} ~* &* +@all\n`;
  await writeFile(join(folder.path, "redis.conf"), settings, { mode: 0o600 });
  const { command, env } = await redisServer();
  const child = spawn(command, [join(folder.path, "redis.conf")], { env: { ...env } });
  const closed = once(child, "close");
  let log = "";
  for (const output of [child.stdout, child.stderr]) output.on("data", (bytes: Buffer) => (log += bytes.toString()));

  const url = `redis://${USER}:${password}@127.0.0.1:${port}`;
  const control = new Redis(url, { retryStrategy: () => 20 });
  control.on("error", () => {});
  await eventually(() => control.ping());
  let commands = "";
  const monitor = await control.monitor();
  monitor.on("monitor", (_time: string, args: string[], source: string) => {
    commands += `${source} ${args.join(" ")}\n`;
  });

  const places = async () => {
    const keys = await control.keys("*");
    const values = await Promise.all(keys.map((key) => readValue(control, key)));
    const dumps = await Promise.all(keys.map((key) => control.dumpBuffer(key)));
    await control.save();
    const end = `end-${crypto.randomUUID()}`;
    await control.echo(end);
    await eventually(() => {
      if (!commands.includes(end)) throw new Error("MONITOR has not come to its end");
    });
    const data = join(folder.path, "data");
    const aof = readdirSync(join(data, "appendonlydir")).map((name) =>
      readFileSync(join(data, "appendonlydir", name), "latin1"),
    );
    return {
      "Redis keys": keys.join("\n"),
      "Redis values": values.join("\n"),
      "Redis DUMP": dumps.map((dump) => dump?.toString("latin1")).join("\n"),
      RDB: readFileSync(join(data, "dump.rdb"), "latin1"),
      AOF: aof.join("\n"),
      MONITOR: commands,
      "Redis log": log,
    };
  };
  const stop = async () => {
    monitor.disconnect();
    control.disconnect();
    child.kill("SIGKILL");
    await closed;
    await folder.remove();
  };
  return { url, process: child, control, places, stop };
}

async function readValue(redis: Redis, key: string): Promise<string> {
  const type = await redis.type(key);
  switch (type) {
    case "string":
      return (await redis.get(key)) ?? "";
    case "hash":
      return JSON.stringify(await redis.hgetall(key));
    case "zset":
      return JSON.stringify(await redis.zrange(key, 0, -1));
    case "stream":
      return JSON.stringify(await redis.xrange(key, "-", "+"));
    default:
      throw new Error(`a key of type ${type}, which nobody reads yet`);
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
