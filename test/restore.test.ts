// The drill of docs/operations.md, by its own commands: what is back after a restore, and what is back that should not be.
import { execFile } from "node:child_process";
import { copyFile, mkdir, readFile, rm } from "node:fs/promises";
import { delimiter, dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterEach, expect, test } from "@jest/globals";
import { Redis } from "ioredis";
import { inactiveReasonToJSON, secretToJSON } from "../gen/apitoken/v1/token_verification_service.js";
import { formatToken, parseToken, splitUid } from "../src/domain/token-string.js";
import { tokenKey } from "../src/redis/layout.js";
import { freePort } from "./faults/free-port.js";
import { startNode } from "./faults/redis-node.js";
import { eventually, redisServer, temporaryFolder } from "./harness.js";
import { clients, startServerProcess } from "./server-process.js";

const PAGE = resolve(import.meta.dirname, "../../docs/operations.md");

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Runs the page's block with that mark in a folder. */
async function drill(mark: string, folder: string, adjust = (script: string) => script): Promise<void> {
  const [, script] = new RegExp(`<!-- ${mark} -->\\n\`\`\`sh\\n([^]*?)\`\`\``).exec(await readFile(PAGE, "utf8")) ?? [];
  if (script === undefined) throw new Error(`docs/operations.md has no block <!-- ${mark} -->`);
  const { command, env } = await redisServer();
  const path = [dirname(command), process.env["PATH"]].join(delimiter);
  const options = { cwd: folder, env: { ...process.env, ...env, PATH: path }, timeout: 15_000 };
  await promisify(execFile)("sh", ["-ec", adjust(script)], options);
}

async function folderOfTest(): Promise<string> {
  const folder = await temporaryFolder();
  cleanups.push(() => folder.remove());
  return folder.path;
}

/** A server process with clients; `stop` lets it write everything down. */
async function start(env: Readonly<Record<string, string>>) {
  const server = startServerProcess(env);
  cleanups.push(() => server.stop());
  const { tokens, verification, close } = clients(await server.listening());
  const stop = async () => {
    close();
    expect(await server.stop("SIGTERM")).toBe(0);
  };
  /** SECRET_CURRENT, or why it is dead. */
  const verdict = async (token: string) => {
    const { active, secret, reason } = await verification.verifyToken({ token });
    return active ? secretToJSON(secret) : inactiveReasonToJSON(reason);
  };
  return { tokens, verdict, stop };
}
type Server = Awaited<ReturnType<typeof start>>;

/** What is there at the backup. */
async function fill({ tokens }: Server) {
  const create = async (name: string) => (await tokens.createToken({ name })).token;
  const [kept, leaked, rotated] = [await create("kept"), await create("leaked"), await create("rotated")];
  const { apiToken } = await tokens.getToken({ name: "kept" });
  const { events } = await tokens.listTokenEvents({ name: "kept" });
  return { kept, leaked, rotated, facts: { apiToken, events } };
}
type Filled = Awaited<ReturnType<typeof fill>>;

/** What happens between the backup and the loss. */
async function goOn({ tokens, verdict }: Server, { leaked, rotated }: Filled) {
  await tokens.revokeToken({ name: "leaked" });
  const renewed = (await tokens.renewToken({ name: "rotated" })).token;
  const late = (await tokens.createToken({ name: "late" })).token;
  expect(await verdict(leaked)).toBe("INACTIVE_REASON_UNKNOWN");
  expect(await verdict(rotated)).toBe("INACTIVE_REASON_SUPERSEDED");
  expect(await verdict(renewed)).toBe("SECRET_CURRENT");
  expect(await verdict(late)).toBe("SECRET_CURRENT");
  return { renewed, late };
}

/** The table of the page, and what it tells to do afterwards. */
async function expectRestored({ tokens, verdict }: Server, before: Filled, after: { renewed: string; late: string }) {
  const { apiToken } = await tokens.getToken({ name: "kept" });
  const { events } = await tokens.listTokenEvents({ name: "kept" });
  expect({ apiToken, events }).toEqual(before.facts);
  expect(await verdict(before.kept)).toBe("SECRET_CURRENT");
  expect(await verdict(before.leaked)).toBe("SECRET_CURRENT");
  expect(await verdict(before.rotated)).toBe("SECRET_CURRENT");
  expect(await verdict(after.renewed)).toBe("INACTIVE_REASON_UNKNOWN");
  expect(await verdict(after.late)).toBe("INACTIVE_REASON_UNKNOWN");

  await tokens.revokeToken({ name: "leaked" });
  const { token } = await tokens.renewToken({ name: "rotated" });
  expect(await verdict(before.leaked)).toBe("INACTIVE_REASON_UNKNOWN");
  expect(await verdict(before.rotated)).toBe("INACTIVE_REASON_SUPERSEDED");
  expect(await verdict(token)).toBe("SECRET_CURRENT");
}

test("the files of the private Redis bring back what was live at the backup, with what was revoked since", async () => {
  const folder = await folderOfTest();
  const env = { DATA_DIR: join(folder, "data") };
  const server = await start(env);
  const before = await fill(server);
  const expiring = (await server.tokens.createToken({ name: "expiring" })).token;
  const redis = new Redis(join(folder, "data/redis.sock"));
  await redis.pexpire(tokenKey(splitUid(parseToken("apt", expiring)?.uid ?? "")), 1000);
  redis.disconnect();

  await drill("backup files", folder);
  const after = await goOn(server, before);
  await eventually(async () => expect(await server.verdict(expiring)).toBe("INACTIVE_REASON_UNKNOWN"));
  await server.stop();
  await rm(join(folder, "data"), { recursive: true });

  await drill("restore files", folder);
  const restored = await start(env);
  expect(await restored.verdict(expiring)).toBe("INACTIVE_REASON_UNKNOWN");
  await expectRestored(restored, before, after);
  await restored.stop();

  // No switch to end all strings at once: they can be written with another prefix.
  const renamed = await start({ ...env, TOKEN_PREFIX: "apu" });
  const { uid = "", secret = "" } = parseToken("apt", before.kept) ?? {};
  expect(await renamed.verdict(before.kept)).toBe("INACTIVE_REASON_MALFORMED");
  expect(await renamed.verdict(formatToken("apu", uid, secret))).toBe("SECRET_CURRENT");
  await renamed.stop();
}, 60_000);

test("a snapshot of another Redis brings back the same, into a server that gets its append-only file afterwards", async () => {
  const folder = await folderOfTest();
  const settings = ["appendonly yes", "appendfsync everysec", 'save ""'];
  const node = await startNode({ name: "redis", parentFolder: folder, settings });
  cleanups.push(() => node.kill());
  const server = await start({ REDIS_URL: `redis://127.0.0.1:${node.port}` });
  const before = await fill(server);
  const restoredPort = await freePort();
  const adjust = (script: string) => script.replaceAll("6379", `${node.port}`).replaceAll("6380", `${restoredPort}`);

  await drill("backup snapshot", folder, adjust);
  const after = await goOn(server, before);
  await server.stop();
  await node.kill();

  cleanups.push(() => endRedis(restoredPort));
  await drill("restore snapshot", folder, adjust);
  const env = { REDIS_URL: `redis://127.0.0.1:${restoredPort}` };
  const restored = await start(env);
  await expectRestored(restored, before, after);
  await restored.stop();
}, 60_000);

test("a Redis that starts with an append-only file does not look at a snapshot, and comes up empty", async () => {
  const folder = await folderOfTest();
  const source = await startNode({ name: "source", parentFolder: folder, settings: ["appendonly no", 'save ""'] });
  cleanups.push(() => source.kill());
  await source.command("SET", "apitoken:{x}:t:y", "z");
  await drill("backup snapshot", folder, (script) => script.replaceAll("6379", `${source.port}`));
  await mkdir(join(folder, "trap"));
  await copyFile(join(folder, "backup.rdb"), join(folder, "trap/dump.rdb"));
  const trap = await startNode({ name: "trap", parentFolder: folder, settings: ["appendonly yes", 'save ""'] });
  cleanups.push(() => trap.kill());
  expect(await trap.command("DBSIZE")).toBe(0);
});

async function endRedis(port: number): Promise<void> {
  const redis = new Redis(port, { lazyConnect: true, retryStrategy: null, maxRetriesPerRequest: 0 });
  redis.on("error", () => {});
  await redis.shutdown("NOSAVE").catch(() => {});
  redis.disconnect();
}
