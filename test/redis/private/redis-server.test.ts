import { chmod, mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { PrivateRedisError } from "../../../src/redis/private/errors.js";
import {
  type FindRedisServerOptions,
  findRedisServer,
  type RedisServer,
} from "../../../src/redis/private/redis-server.js";
import { redisServer, temporaryFolder } from "../../harness.js";

let folder: { path: string; remove: () => Promise<void> };
let lines: string[];

beforeEach(async () => {
  folder = await temporaryFolder();
  lines = [];
});

afterEach(() => folder.remove());

/** Looks only where the test says. */
function find(options: Partial<FindRedisServerOptions>): Promise<RedisServer> {
  return findRedisServer({
    searchPath: "",
    usualFolders: [],
    cacheDir: join(folder.path, "cache"),
    report: (line) => lines.push(line),
    ...options,
  });
}

/** A program in a folder of its own that prints this. */
async function program(folderName: string, name: string, output: string): Promise<string> {
  const path = join(folder.path, folderName);
  await mkdir(path, { recursive: true });
  await writeFile(join(path, name), `#!/bin/sh\necho '${output}'\n`);
  await chmod(join(path, name), 0o755);
  return path;
}

const OLD = "Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=6d95e1af3a2c082a";
const VALKEY = "Valkey server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=3b5ae11ab7ff4a8f";

describe("an explicit path", () => {
  test("is used when it names a real Redis", async () => {
    const folderName = await program("named", "my-valkey", VALKEY);
    const explicitPath = join(folderName, "my-valkey");
    expect(await find({ explicitPath })).toEqual({ command: explicitPath, env: {}, version: "8.1.1" });
  });

  test.each([
    ["nothing", "missing", "there is no such file"],
    ["a folder", ".", "it is a folder"],
    ["a file that is not executable", "plain", "it is not executable"],
    ["a program that is no Redis", "other", 'it printed no version but "hello"'],
    ["a program that fails", "failing", "running it failed"],
    ["an old Redis", "old", "its version is 6.0.16, older than 7.0"],
  ])("that names %s is an error with the path, even with a good Redis at hand", async (_, name, reason) => {
    const bin = await program("bin", "redis-server", VALKEY);
    await program("bin", "other", "hello");
    await program("bin", "old", OLD);
    await writeFile(join(bin, "plain"), "");
    await writeFile(join(bin, "failing"), "#!/bin/sh\nexit 3\n", { mode: 0o755 });
    const explicitPath = join(bin, name);
    const refusal = find({ explicitPath, searchPath: bin });
    await expect(refusal).rejects.toThrow(PrivateRedisError);
    await expect(refusal).rejects.toThrow(
      `REDIS_SERVER_BIN names ${join(explicitPath)}, which cannot be used: ${reason}`,
    );
  });
});

describe("the search", () => {
  test("passes over a Redis that is too old, says so, and takes a newer one further on", async () => {
    const old = await program("old", "redis-server", OLD);
    const good = await program("good", "valkey-server", VALKEY);
    const found = await find({ searchPath: `${old}:${good}` });
    expect(found).toEqual({ command: join(good, "valkey-server"), env: {}, version: "8.1.1" });
    expect(lines).toEqual([`Passing over ${join(old, "redis-server")}: its version is 6.0.16, older than 7.0.`]);
  });

  test("looks into the usual folders after the search path", async () => {
    const usual = await program("usual", "redis-server", VALKEY);
    expect((await find({ usualFolders: [usual] })).command).toBe(join(usual, "redis-server"));
    const first = await program("first", "valkey-server", VALKEY);
    expect((await find({ searchPath: first, usualFolders: [usual] })).command).toBe(join(first, "valkey-server"));
  });

  test("with no Redis and no apt anywhere ends with one message that says how to get one", async () => {
    const refusal = find({});
    await expect(refusal).rejects.toThrow(PrivateRedisError);
    await expect(refusal).rejects.toThrow(
      "No Redis 7.0 or newer was found, and it can be fetched only where apt-get and dpkg-deb exist.\n" +
        "Install one (sudo apt-get install redis-server, sudo dnf install redis (or valkey), sudo apk add redis, " +
        "brew install redis), or name one with REDIS_SERVER_BIN, or set REDIS_URL to a Redis that runs already.",
    );
  });

  test("names the command of this platform's package manager", async () => {
    const bin = await program("bin", "apk", "");
    await expect(find({ searchPath: bin })).rejects.toThrow("Install one (sudo apk add redis), or");
  });
});

describe("a fetch", () => {
  const apt = ["/usr/bin/apt-get", "/usr/bin/dpkg-deb"];
  const onDebian = process.platform === "linux" ? test : test.skip;

  onDebian("that fails tells apt's last words and leaves nothing behind", async () => {
    const bin = join(folder.path, "bin");
    await program("bin", "dpkg-deb", "");
    const script = "#!/bin/sh\necho 'E: Unable to locate package redis-server' >&2\nexit 100\n";
    await writeFile(join(bin, "apt-get"), script, { mode: 0o755 });
    const refusal = find({ searchPath: bin });
    await expect(refusal).rejects.toThrow(PrivateRedisError);
    await expect(refusal).rejects.toThrow(
      /fetching one failed: .*apt-get install ended with 100; its last lines:\n {2}E: Unable to locate package redis-server\n {2}before: E: Unable to locate package redis-server\nInstall one \(sudo apt-get install redis-server\)/s,
    );
    expect(await readdir(join(folder.path, "cache"))).toEqual([]);
  });

  onDebian(
    "yields a Redis that runs, also beside another fetch, and is done only once",
    async () => {
      if ((await redisServer()).env["LD_LIBRARY_PATH"] === undefined) return; // Installed: nothing to fetch for.
      const bin = join(folder.path, "bin");
      await mkdir(bin);
      for (const path of apt) await symlink(path, join(bin, path.slice("/usr/bin/".length)));
      const found = await Promise.all([find({ searchPath: bin }), find({ searchPath: bin })]);
      const place = join(folder.path, "cache", "redis-server");
      for (const server of found) expect(server.command).toBe(join(place, "usr/bin/redis-server"));
      expect(await readdir(join(folder.path, "cache"))).toEqual(["redis-server"]);
      expect(lines).toContain("Reading the package lists...");

      lines = [];
      expect(await find({})).toEqual(found[0]);
      expect(lines).toEqual([]);
    },
    120_000,
  );
});
