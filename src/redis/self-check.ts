// Whether this Redis may keep tokens: what a master must be, and how it must be set.
import type { Redis } from "ioredis";
import type { RedisConnection } from "./connection.js";
import type { Master } from "./master.js";
import type { RedisAddress } from "./redis-address.js";

export interface SelfCheckOptions {
  /** Serve although Redis keeps nothing on disk. */
  readonly allowVolatile: boolean;
  /** Serve although Redis does not let us read its configuration. */
  readonly allowUnverified: boolean;
  /** `safe`: what is acknowledged must survive the loss of a master, or of its power. */
  readonly durability: "safe" | "fast";
}

export interface Findings {
  /** Reasons not to serve. */
  readonly faults: readonly string[];
  readonly warnings: readonly string[];
}

const MAX_CLOCK_SKEW_MS = 2000;
const DIFFERENT_SERVERS = "the connections lead to different servers";
const MODES = { standalone: "standalone", sentinel: "standalone", cluster: "cluster" } as const;

/** Asks every master about itself. Rejects when none answers; one of several that does not is only warned of. */
export async function selfCheck(connection: RedisConnection, options: SelfCheckOptions): Promise<Findings> {
  const { address, reads, writes } = connection;
  const checks = await Promise.allSettled(writes.all().map((master) => checkMaster(master, address, options)));
  const found = checks.flatMap((check) => (check.status === "fulfilled" ? [check.value] : []));
  if (found.length === 0) throw new Error("no master answers");

  const faults = new Set(found.flatMap((one) => one.faults));
  const warnings = new Set(found.flatMap((one) => one.warnings));
  const silent = checks.length - found.length;
  if (silent > 0) warnings.add(`${silent} of ${checks.length} masters do not answer: their organizations have to wait`);
  const [one, ...others] = found;
  const [reader] = reads.all();
  if (one && reader && others.length === 0 && address.kind !== "cluster") {
    // One connection has followed a failover and the other has not.
    if ((await runId(reader.redis)) !== one.runId) {
      for (const { redis } of [...reads.all(), ...writes.all()]) if (redis.status === "ready") redis.disconnect(true);
      return { faults: [DIFFERENT_SERVERS], warnings: [] };
    }
  }
  const required = Math.max(address.kind === "standalone" ? 0 : 1, ...found.map((one) => one.requiredReplicas));
  connection.requiredReplicas = options.durability === "safe" ? required : 0;
  return { faults: [...faults], warnings: [...warnings] };
}

/** A fault that a failover brings and ends. */
export function isPassing(fault: string): boolean {
  return fault === wrongRole("slave") || fault === DIFFERENT_SERVERS;
}

function wrongRole(role: string): string {
  return `this Redis is a ${role}; the master is needed`;
}

interface MasterFindings extends Findings {
  readonly runId: string;
  /** By how many replicas this master lets a write be kept. */
  readonly requiredReplicas: number;
}

async function checkMaster(
  master: Master,
  { kind, options }: RedisAddress,
  { allowVolatile, allowUnverified, durability }: SelfCheckOptions,
): Promise<MasterFindings> {
  const faults: string[] = [];
  const warnings: string[] = [];
  const refuseUnless = (isAllowed: boolean, text: string) => (isAllowed ? warnings : faults).push(text);

  if (options.db) await select(master.redis, options.db).catch((error: Error) => faults.push(error.message));
  const info = await master.redis.info();
  const version = infoField(info, "redis_version");
  if (Number.parseInt(version, 10) < 7) faults.push(`Redis ${version} is too old: 7.0 or newer is needed`);
  const mode = infoField(info, "redis_mode");
  if (mode !== MODES[kind]) faults.push(`Redis runs in ${mode} mode, and REDIS_URL says ${kind}`);
  const role = infoField(info, "role");
  if (role !== "master") faults.push(wrongRole(role));

  const isReplicated = kind !== "standalone";
  let requiredReplicas = isReplicated ? 1 : 0;
  const settings = await readSettings(master.redis);
  if (settings === undefined) {
    const text =
      "CONFIG GET is not permitted, so eviction and persistence cannot be verified (ALLOW_UNVERIFIED_REDIS=1)";
    refuseUnless(allowUnverified, text);
  } else {
    requiredReplicas = Number(settings.get("min-replicas-to-write"));
    const policy = settings.get("maxmemory-policy");
    if (policy !== "noeviction") faults.push(`maxmemory-policy is ${policy}: tokens would be evicted; set noeviction`);
    if (settings.get("appendonly") !== "yes") {
      refuseUnless(allowVolatile, "appendonly is off: tokens would not survive a restart (ALLOW_VOLATILE_REDIS=1)");
    } else if (durability === "safe" && requiredReplicas === 0 && settings.get("appendfsync") !== "always") {
      warnings.push(
        "appendfsync is not always: a power cut, or a crash of Redis, can lose the last moments (DURABILITY=fast accepts that)",
      );
    }
    if (durability === "safe" && isReplicated && requiredReplicas === 0) {
      faults.push("min-replicas-to-write is 0: a failover would lose changes; set 1 or more, or DURABILITY=fast");
    }
  }
  const skewMs = Math.round((await master.readClock()) - Date.now());
  if (Math.abs(skewMs) > MAX_CLOCK_SKEW_MS) {
    warnings.push(`Redis's clock is ${skewMs} ms ahead of this machine's; Redis's decides when a token ends`);
  }
  return { faults, warnings, runId: infoField(info, "run_id"), requiredReplicas };
}

/** ioredis goes on in database 0 where it may not enter another. */
async function select(redis: Redis, database: number): Promise<void> {
  await redis.select(database).catch((error: Error) => {
    if (!/^(?:NOPERM|ERR)\b/.test(error.message)) throw error;
    throw new Error(`database ${database} cannot be selected: does it exist, and may this user select it?`);
  });
}

async function runId(redis: Redis): Promise<string> {
  return infoField(await redis.info("server"), "run_id");
}

const SETTINGS = ["maxmemory-policy", "appendonly", "appendfsync", "min-replicas-to-write"] as const;

async function readSettings(redis: Redis): Promise<ReadonlyMap<string, string> | undefined> {
  try {
    const reply = (await redis.config("GET", ...SETTINGS)) as string[];
    return new Map(reply.flatMap((name, at) => (at % 2 === 0 ? [[name, reply[at + 1] ?? ""] as const] : [])));
  } catch (error) {
    // NOPERM by an ACL, or an ERR where a provider has renamed the command away. Anything else is no answer.
    if (error instanceof Error && /^(?:NOPERM|ERR)\b/.test(error.message)) return undefined;
    throw error;
  }
}

function infoField(info: string, name: string): string {
  return new RegExp(`^${name}:(.*)\\r?$`, "m").exec(info)?.[1]?.trim() ?? "";
}
