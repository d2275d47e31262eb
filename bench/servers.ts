// What runs while we measure: a Redis of the bench's own, the server as it runs in production but without TLS, and the
// servers that do nothing, with which it is compared.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Redis } from "ioredis";
import { DEFAULT_CALL_RATES } from "../src/grpc/admission.js";
import { Master } from "../src/redis/master.js";
import { create } from "../src/redis/scripts.js";
import { startRedis, temporaryFolder } from "../test/harness.js";
import { createIssuer } from "../test/issuer.js";
import { startServerProcess } from "../test/server-process.js";
import { endWithUs, type Listening, NODE_FLAGS, OTHERS, pin, pinned, SERVERS, startListening } from "./processes.js";
import { keyOf } from "./tokens.js";

const HOUR_SECONDS = 3600;
/** Beyond what any machine does: nothing of a bench is refused for its rate. */
const NO_LIMIT = 9_999_999;
export const MAX_TOKENS_PER_USER = 1_000_000;

export const ORGANIZATION = "acme-corporation";

export type BenchRedis = Awaited<ReturnType<typeof startBenchRedis>>;

/** An empty Redis beside the loads, keeping its file as the private Redis does with DURABILITY=fast. */
export async function startBenchRedis() {
  const redis = await startRedis();
  const { client, socketPath } = redis;
  const pid = Number(/process_id:(\d+)/.exec(await client.info("server"))?.[1]);
  pin(pid, OTHERS);
  // A rewrite in the middle of a window would be measured too.
  await client.config("SET", "auto-aof-rewrite-percentage", "0");
  const master = new Master(new Redis(socketPath));
  // Redis has to learn the script, before many ask for it at once.
  await create(master.redis, ["", "", "", ""], []).catch(() => {});
  return {
    socketPath,
    client,
    /** For the same command many times in a turn of the event loop. */
    master,
    pid,
    stop: async () => {
      master.redis.disconnect();
      await redis.stop();
    },
  };
}

export type Identity = Awaited<ReturnType<typeof createIdentity>>;

/** An issuer of credentials, and what a server must be told to take them. */
export async function createIdentity() {
  const folder = await temporaryFolder();
  const issuer = await createIssuer();
  const file = join(folder.path, "keys.json");
  writeFileSync(file, JSON.stringify(await issuer.jwks()));
  return {
    /** Of a program that signed in as this user of ORGANIZATION and may verify. */
    headersOf: async (userId: string) => {
      const claims = { organization_id: ORGANIZATION, sub: userId, scope: "apitoken.verify" };
      return { authorization: `Bearer ${await issuer.sign(claims, { expiresInSeconds: 12 * HOUR_SECONDS })}` };
    },
    env: { JWT_ISSUER: issuer.issuer, JWT_AUDIENCE: issuer.audience, JWT_JWKS_FILE: file },
    remove: () => folder.remove(),
  };
}

export interface ApitokendOptions {
  readonly redis: BenchRedis;
  /** undefined = development mode: callers are believed. */
  readonly identity: Identity | undefined;
  readonly workers?: number;
  readonly lastUsedResolution?: string;
  readonly cores?: string;
}

/** The built server, in a process of its own. */
export async function startApitokend(options: ApitokendOptions): Promise<Listening & { readonly startMs: number }> {
  const { redis, identity, workers = 1, lastUsedResolution = "60s", cores = SERVERS } = options;
  const rates = Object.keys(DEFAULT_CALL_RATES).map((rpc) => `${rpc}=${NO_LIMIT}`);
  const env = {
    PATH: process.env["PATH"] ?? "",
    REDIS_URL: `unix://${redis.socketPath}`,
    METRICS_ADDRESS: "127.0.0.1:0",
    LOG_LEVEL: "warn",
    CALL_RATES: rates.join(" "),
    FAILED_VERIFICATION_RATE: "1000000",
    // A machine that stalls for a moment lets calls pile up at a fixed rate.
    MAX_CONCURRENT_CALLS: "10000",
    MAX_CONCURRENT_CALLS_PER_CALLER: "10000",
    LAST_USED_RESOLUTION: lastUsedResolution,
    WORKERS: String(workers),
    MAX_TOKENS_PER_USER: String(MAX_TOKENS_PER_USER),
    ...identity?.env,
  };
  const command = [...pinned(cores), process.execPath, ...NODE_FLAGS, "dist/apitokend.js"];
  const startedMs = performance.now();
  const server = startServerProcess(env, { inherit: false, command });
  endWithUs(server.child);
  const address = await server.listening();
  const startMs = performance.now() - startedMs;
  const stop = async () => void (await server.stop("SIGTERM"));
  return { pid: server.child.pid ?? 0, address, startMs, stop };
}

/** A no-op on the same grpc-js; see noop-grpc.ts. */
export function startFloor(codec: "bytes" | "messages", reply: Buffer): Promise<Listening> {
  return startListening("dist/bench/noop-grpc.js", [codec, reply.toString("base64")]);
}

/** A no-op on node:http2 alone; with a token, one that reads it from Redis before each reply. */
export function startBareHttp2(reply: Buffer, read?: { redis: BenchRedis; token: string }): Promise<Listening> {
  const reading = read === undefined ? [] : [read.redis.socketPath, keyOf(read.token)];
  return startListening("dist/bench/noop-http2.js", [reply.toString("base64"), ...reading]);
}
