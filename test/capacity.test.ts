// What a token weighs in Redis, against the table of docs/operations.md by which a Redis is chosen.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { afterEach, expect, test } from "@jest/globals";
import { eventually, type Service, startService } from "./harness.js";

const PAGE = readFileSync(resolve(import.meta.dirname, "../../docs/operations.md"), "utf8");
/** More than 128 in the organization: below that its index is a compact list. */
const TOKENS = 200;
/** Other versions and allocators round otherwise. */
const TOLERANCE = 0.25;
const AS = { organization: "company-00000001", user: "user-00000000001" };

let service: Service;
afterEach(() => service.stop());

/** The bytes in the row that begins so. */
function documented(what: string): number {
  const [, bytes] = new RegExp(`^\\| ${what}[^|]* \\| (\\d+) \\|$`, "m").exec(PAGE) ?? [];
  return Number(bytes);
}

/** Bytes of all keys of that kind, for each token. */
async function weigh(kind: string): Promise<number> {
  const { client } = service.redis;
  const keys = await client.keys(`apitoken:{*}:${kind}`);
  const sizes = await Promise.all(keys.map((key) => client.memory("USAGE", key, "SAMPLES", 0)));
  return sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0) / TOKENS;
}

test("a token, its entry, its events and its answer weigh what the page says", async () => {
  const rates = "CreateToken=10000 RenewToken=10000 VerifyToken=10000";
  service = await startService({ CALL_RATES: rates });
  const names = Array.from({ length: TOKENS }, (_, at) => `token-${String(at).padStart(10, "0")}`);
  const bearers: string[] = [];
  for (const name of names) bearers.push((await service.tokens.createToken({ name }, AS)).token);
  const fresh = await weigh("t:*");
  const index = await weigh("index");
  for (const token of bearers) await service.verification.verifyToken({ token }, AS);
  const { client } = service.redis;
  const keys = await client.keys("apitoken:{*}:t:*");
  await eventually(async () => {
    for (const key of keys) expect(await client.hexists(key, "a")).toBe(1);
  });
  const used = await weigh("t:*");
  for (const name of names) {
    const retry = { gracePeriod: { seconds: 3600n, nanos: 0 }, requestId: crypto.randomUUID() };
    await service.tokens.renewToken({ name, ...retry }, AS);
  }
  const renewed = await weigh("t:*");
  const answers = await Promise.all(
    (await client.keys("*:receipt:*")).map(async (receipt) =>
      (await client.hexists(receipt, "sealed")) ? await client.memory("USAGE", receipt, "SAMPLES", 0) : 0,
    ),
  );
  const measured: Readonly<Record<string, number>> = {
    "a fresh token": fresh,
    "its entry in the index": index,
    "more once it was used": used - fresh,
    "more once it was renewed": renewed - fresh,
    "an event": (await weigh("events")) / 2,
    "the answer kept": answers.reduce<number>((sum, size) => sum + (size ?? 0), 0) / TOKENS,
  };
  for (const [what, bytes] of Object.entries(measured)) {
    const share = bytes / documented(what);
    expect([what, bytes, share > 1 - TOLERANCE && share < 1 + TOLERANCE]).toEqual([what, bytes, true]);
  }
}, 30_000);
