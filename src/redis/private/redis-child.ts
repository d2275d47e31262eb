// One run of a Redis as our child: how it is started, how it is asked whether it answers, how it ends with us. It must
// not know about locks, restarts, or what the data means.
import { type ChildProcess, spawn } from "node:child_process";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { PrivateRedisError } from "./errors.js";
import type { RedisServer } from "./redis-server.js";

export type RedisChildOptions = {
  readonly server: RedisServer;
  readonly dataDir: string;
  readonly socketPath: string;
  readonly appendFsync: "always" | "everysec";
  readonly log: Logger;
};

/** What answers on a socket; "silent" is a server that accepts and says nothing, "absent" no server at all. */
export type Answer = "ready" | "loading" | "silent" | "absent";

const TAIL_LINES = 15;
const PROGRESS_MS = 5_000;
const TERM_LIMIT_MS = 10_000;
const PING_LIMIT_MS = 1_000;

// Redis must end when we do, even by SIGKILL: our end of stdin closes then, `read` returns, and Redis gets its SIGTERM.
// It is sent again, for the first may come while Redis is still a copy of the shell that catches it.
// What shells say of ended jobs is silenced, Redis's own words are not.
// The wrapper itself survives a SIGTERM sent to the whole group (systemd), since its exit tells us that Redis is gone.
const WRAPPER = `
trap : TERM INT HUP
exec 3<&0
"$@" 3<&- & redis=$!
exec 2>/dev/null
{ read _ <&3; while kill $redis; do sleep 1; done; } >/dev/null & watcher=$!
while :; do
  wait $redis; status=$?
  kill -0 $redis || break
done
kill $watcher
exit $status
`;

// Redis 7.0 gives its greetings and its farewells the level of a warning.
// Advice on the host's settings comes with every start.
const HARMLESS =
  /Redis is starting|Valkey is starting|version=|Configuration loaded|Server initialized|Server started|User requested shutdown|bye bye|Removing the unix socket|overcommit must be enabled|Transparent Huge Pages/;

/** A running (or just ended) Redis. */
export class RedisChild {
  /** Resolves when Redis and all that belonged to it are gone, with how it ended and its last lines. */
  readonly ended: Promise<string>;
  readonly #options: RedisChildOptions;
  readonly #process: ChildProcess;
  readonly #tail: string[] = [];

  constructor(options: RedisChildOptions) {
    this.#options = options;
    const { server, dataDir, log } = options;
    const args = ["-c", WRAPPER, "sh", server.command, ...redisArguments(options)];
    // Its own session: a terminal's Ctrl-C is ours to handle, and reaches Redis only through us.
    const stdio = ["pipe", "pipe", "pipe"] as const;
    const child = spawn("/bin/sh", args, { cwd: dataDir, env: { ...server.env }, detached: true, stdio: [...stdio] });
    this.#process = child;
    child.stdin?.on("error", () => undefined);
    for (const stream of [child.stdout, child.stderr]) this.#read(stream, log);
    this.ended = new Promise((resolve) => {
      child.on("error", (error) => this.#tail.push(error.message));
      child.on("exit", (_code, signal) => {
        // A wrapper that ended by itself has seen Redis end: what is left of the group is a rewriting child at most.
        // One that was killed leaves Redis to the watcher.
        if (signal === null) this.#kill();
        child.stdin?.destroy();
      });
      // Comes when nobody holds the output any longer, so when Redis is gone even if the wrapper went first.
      child.on("close", (code, signal) => {
        const ending = signal === null ? statusName(code) : `its wrapper got ${signal}`;
        resolve([`${ending}; its last lines:`, ...this.#tail].join("\n  "));
      });
    });
  }

  /** Its process group; undefined when it could not even be started. */
  get groupId(): number | undefined {
    return this.#process.pid;
  }

  /** Resolves when Redis answers, however long it loads; throws {@link PrivateRedisError} when it ends before. */
  async ready(): Promise<void> {
    const { socketPath, log } = this.#options;
    const started = performance.now();
    const ended = this.ended.then(() => "ended" as const);
    let reported = started;
    for (let pauseMs = 5; ; pauseMs = Math.min(pauseMs * 1.5, 200)) {
      const answer = await Promise.race([ping(socketPath), ended]);
      if (answer === "ready") return;
      if (answer === "ended") throw new PrivateRedisError(`Redis ended while it was starting: ${await this.ended}`);
      if (performance.now() - reported > PROGRESS_MS) {
        reported = performance.now();
        log.info(`Redis is still loading its data (${Math.round((reported - started) / 1000)} s)`);
      }
      await Promise.race([delay(pauseMs), ended]);
    }
  }

  /** Ends Redis with SIGTERM, so that it writes everything down, and resolves when it is gone. */
  async end(): Promise<void> {
    this.#process.stdin?.destroy();
    const patience = new AbortController();
    const late = delay(TERM_LIMIT_MS, "late" as const, { signal: patience.signal }).catch(() => "ended" as const);
    if ((await Promise.race([late, this.ended])) === "late") {
      this.#options.log.warn(`Redis did not end within ${TERM_LIMIT_MS / 1000} s of SIGTERM: it gets SIGKILL`);
      this.#kill();
    }
    patience.abort();
    await this.ended;
  }

  #kill(): void {
    if (this.groupId === undefined) return;
    try {
      process.kill(-this.groupId, "SIGKILL");
    } catch {
      // The usual case: nothing of the group is left.
    }
  }

  #read(stream: Readable | null, log: Logger): void {
    if (stream === null) return;
    createInterface({ input: stream }).on("line", (line) => {
      this.#tail.push(line);
      if (this.#tail.length > TAIL_LINES) this.#tail.shift();
      logLine(line, log);
    });
  }
}

/** Asks whoever listens on the socket for a PONG. */
export function ping(socketPath: string): Promise<Answer> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    const answer = (what: Answer): void => {
      socket.destroy();
      resolve(what);
    };
    let connected = false;
    let reply = "";
    socket.setTimeout(PING_LIMIT_MS, () => answer("silent"));
    socket.on("connect", () => {
      connected = true;
      socket.write("PING\r\n");
    });
    socket.on("data", (chunk) => {
      reply += chunk.toString("latin1");
      if (!reply.includes("\n")) return;
      if (reply.startsWith("-LOADING")) answer("loading");
      // Any other refusal comes from a server that has loaded: what it refuses, the self-check tells.
      else answer("ready");
    });
    socket.on("error", () => answer(connected ? "silent" : "absent"));
    socket.on("close", () => answer("silent"));
  });
}

function redisArguments(options: RedisChildOptions): string[] {
  const settings = {
    port: "0",
    unixsocket: options.socketPath,
    unixsocketperm: "700",
    dir: options.dataDir,
    appendonly: "yes",
    appendfsync: options.appendFsync,
    save: "",
    "maxmemory-policy": "noeviction",
    daemonize: "no",
  };
  return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
}

function logLine(line: string, log: Logger): void {
  // "4242:M 23 Nov 2026 22:48:30.123 * Ready to accept connections": only the level and the text are news.
  const [, level, text] = /^\d+:[A-Z] .{20,30}? ([.*#-]) (.*)$/.exec(line) ?? [];
  if (text === undefined) {
    if (line.trim() !== "") log[/signal-handler/.test(line) ? "debug" : "warn"](`redis: ${line}`);
    return;
  }
  // What Redis says of an ordinary life is noise beside our own lines.
  log[level === "#" && !HARMLESS.test(text) ? "warn" : "debug"](`redis: ${text}`);
}

function statusName(code: number | null): string {
  if (code === null) return "it ended";
  return code > 128 ? `it got signal ${code - 128}` : `it ended with status ${code}`;
}
