// A Redis full of tokens: how it is filled, and what a token weighs in it.
import { CENSUS_KEYS } from "../src/redis/layout.js";
import type { BenchRedis } from "./servers.js";
import { markUsed, type NamedToken, names, plantTokens } from "./tokens.js";

const TOKENS_OF_A_USER = 10;
const TOKENS_OF_AN_ORGANIZATION = 1000;
/** So many of the bearer strings are kept. */
const SAMPLES = 20_000;
const REST_LIMIT_MS = 60_000;
const TURN_MS = 3_600_000;

export interface Population {
  readonly tokens: number;
  readonly samples: readonly string[];
  /** Of all keys in Redis but the events. */
  readonly bytesPerToken: number;
  readonly seconds: number;
}

/**
 * Fills an empty Redis with so many thousands of tokens, ten of each user, a thousand of each organization, all names 16
 * characters long, and weighs them. Those that are kept are then marked as used. No server gets the turn to count the tokens:
 * that goes on for minutes at a steady pace, whoever calls, and would be divided by the few calls of a window.
 */
export async function populate(redis: BenchRedis, thousands: number, report: (done: number) => void) {
  const startedMs = performance.now();
  const { client } = redis;
  // Its file is written at the end in one go.
  await client.config("SET", "appendonly", "no");
  const emptyBytes = await usedMemory(redis);
  const samples: string[] = [];
  for (const [at, organizationId] of names("company-", thousands).entries()) {
    const bearers = await plantTokens(redis, tokensOf(organizationId));
    samples.push(...bearers.slice(0, Math.ceil(SAMPLES / thousands)));
    report((at + 1) * TOKENS_OF_AN_ORGANIZATION);
  }
  const seconds = (performance.now() - startedMs) / 1000;
  await deleteEvents(redis);
  const tokens = thousands * TOKENS_OF_AN_ORGANIZATION;
  const bytesPerToken = ((await usedMemory(redis)) - emptyBytes) / tokens;
  await markUsed(redis, samples);
  await client.set(CENSUS_KEYS.turn, "", "PX", TURN_MS);
  await client.config("SET", "appendonly", "yes");
  await until(async () =>
    /aof_rewrite_in_progress:0[\s\S]*aof_rewrite_scheduled:0/.test(await client.info("persistence")),
  );
  return { tokens, samples, bytesPerToken, seconds } satisfies Population;
}

function tokensOf(organizationId: string): NamedToken[] {
  const users = names("user-", TOKENS_OF_AN_ORGANIZATION / TOKENS_OF_A_USER);
  return users.flatMap((userId) => names("token-", TOKENS_OF_A_USER).map((name) => ({ organizationId, userId, name })));
}

async function usedMemory({ client }: BenchRedis): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(await client.info("memory"))?.[1]);
}

async function deleteEvents({ client }: BenchRedis): Promise<void> {
  const batches = client.scanStream({ match: "*:events", count: 10_000 }) as AsyncIterable<string[]>;
  for await (const keys of batches) if (keys.length > 0) await client.del(...keys);
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + REST_LIMIT_MS;
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error("Redis does not come to rest");
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
