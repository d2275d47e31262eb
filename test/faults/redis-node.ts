// One real Redis or Sentinel as a process that fault tests kill, suspend and start again on the same folder and port. It
// ends when this process does, even by SIGKILL.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Redis } from "ioredis";
import { eventually, redisServer } from "../harness.js";
import { freePort } from "./free-port.js";

export interface RedisNode {
  readonly name: string;
  /** The port that it really listens on; what it announces to others may be a proxy's. */
  readonly port: number;
  /** undefined while it does not run. */
  readonly pid: number | undefined;
  /** Its last lines. */
  readonly log: string;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
  /** Starts it on the same folder and port, unless it runs; resolves when it answers PING with PONG. */
  start(): Promise<void>;
  /** Ends it by SIGTERM, with everything written down, and starts it again. */
  restart(): Promise<void>;
  /** SIGSTOP. */
  suspend(): void;
  /** SIGCONT. */
  resume(): void;
  /** Sends a command by a connection of its own, once; rejects when the connection ends, or after 5 s. */
  command(...args: readonly (string | number)[]): Promise<unknown>;
}

export interface NodeOptions {
  readonly name: string;
  /** It gets a folder of its own in there, named as it is. */
  readonly parentFolder: string;
  /** Lines of its configuration file, which it may rewrite. */
  readonly settings: readonly string[];
  readonly isSentinel?: boolean;
  /** Is done after every start. */
  readonly prepare?: (node: RedisNode) => Promise<unknown>;
}

// Our end of stdin closes when we end: `read` returns then, and Redis goes. Until the shell waits, its pid is not used
// again. The first line on stderr is that pid; all that Redis says comes on stdout, which closes when Redis is gone.
const WRAPPER = `
"$@" </dev/null 2>&1 & redis=$!
echo $redis >&2
exec >&- 2>&-
read _
kill -9 $redis
wait`;
const LOG_LINES = 60;
const READY_LIMIT_MS = 15_000;

/** Makes the folder and the configuration file of a node, and starts it. */
export async function startNode(options: NodeOptions): Promise<RedisNode> {
  const port = await freePort();
  const folder = join(options.parentFolder, options.name);
  await mkdir(folder, { recursive: true });
  const own = [`port ${port}`, "bind 127.0.0.1", "protected-mode no", `dir "${folder}"`, "daemonize no"];
  await writeFile(join(folder, "redis.conf"), [...own, ...options.settings, ""].join("\n"));
  const node = new RedisProcess(options, port, folder);
  await node.start();
  return node;
}

class RedisProcess implements RedisNode {
  readonly name: string;
  readonly port: number;
  pid: number | undefined;
  readonly #options: NodeOptions;
  readonly #folder: string;
  readonly #lines: string[] = [];
  #child: ChildProcess | undefined;
  #gone: Promise<unknown> = Promise.resolve();
  #starting: Promise<void> | undefined;
  #connection: Redis | undefined;

  constructor(options: NodeOptions, port: number, folder: string) {
    this.name = options.name;
    this.port = port;
    this.#options = options;
    this.#folder = folder;
  }

  get log(): string {
    return this.#lines.join("\n");
  }

  async kill(): Promise<void> {
    this.#child?.stdin?.end();
    await this.#gone;
  }

  start(): Promise<void> {
    this.#starting ??= this.#start().finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  async restart(): Promise<void> {
    this.#signal("SIGTERM");
    await this.#gone;
    await this.start();
  }

  suspend(): void {
    this.#signal("SIGSTOP");
  }

  resume(): void {
    this.#signal("SIGCONT");
  }

  command(...args: readonly (string | number)[]): Promise<unknown> {
    const [name = "", ...rest] = args;
    if (this.#connection === undefined || this.#connection.status === "end") {
      this.#connection = new Redis(this.port, "127.0.0.1", {
        lazyConnect: true,
        retryStrategy: () => null,
        enableReadyCheck: false,
        connectTimeout: 1000,
        commandTimeout: 5000,
        // When the other end is gone already, ioredis would wait this long for it to close.
        disconnectTimeout: 0,
      });
      // Every command of it rejects as well.
      this.#connection.on("error", () => undefined);
    }
    return this.#connection.call(String(name), ...rest);
  }

  async #start(): Promise<void> {
    if (this.pid === undefined) {
      await this.#gone;
      await this.#spawn();
    }
    const hasAnswered = await eventually(async () => {
      if (this.pid === undefined) return false;
      if ((await this.command("PING")) !== "PONG") throw new Error(`${this.name} does not say PONG`);
      return true;
    }, READY_LIMIT_MS);
    if (!hasAnswered) throw new Error(`${this.name} ended while starting:\n${this.log}`);
    await this.#options.prepare?.(this);
  }

  /** Resolves when the process is there. */
  async #spawn(): Promise<void> {
    this.#connection?.disconnect();
    this.#connection = undefined;
    const { command, env } = await redisServer();
    const args = [command, "redis.conf", ...(this.#options.isSentinel ? ["--sentinel"] : [])];
    const child = spawn("/bin/sh", ["-c", WRAPPER, "sh", ...args], {
      cwd: this.#folder,
      env: { ...env },
      // A terminal's Ctrl-C is for us; Redis ends when we do.
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#child = child;
    child.stdin.on("error", () => undefined);
    createInterface({ input: child.stdout }).on("line", (line) => {
      this.#lines.push(line);
      if (this.#lines.length > LOG_LINES) this.#lines.shift();
    });
    child.stdout.on("close", () => {
      this.pid = undefined;
      child.stdin.end();
    });
    child.on("error", (error) => this.#lines.push(error.message));
    this.#gone = new Promise((resolve) => child.on("close", resolve));
    await Promise.race([once(child.stderr, "data").then(([bytes]) => this.#setPid(Number(bytes))), this.#gone]);
  }

  #setPid(pid: number): void {
    // Redis may have ended before its pid is read.
    if (this.#child?.stdout?.closed === false) this.pid = pid;
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.pid === undefined) throw new Error(`${this.name} does not run`);
    process.kill(this.pid, signal);
  }
}

/** A field of an INFO reply; "" when it is not there. */
export function infoField(info: unknown, name: string): string {
  return new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(String(info))?.[1] ?? "";
}
