// What Prometheus is given: counts by answer and by reason, and nothing of any caller.
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startRedis } from "./harness.js";
import { clients, type ServerProcess, startServerProcess } from "./server-process.js";

let redis: Awaited<ReturnType<typeof startRedis>>;
let server: ServerProcess;
let url: string;
beforeAll(async () => {
  redis = await startRedis();
  server = startServerProcess({
    REDIS_URL: `unix://${redis.socketPath}`,
    METRICS_ADDRESS: "127.0.0.1:0",
    CALL_RATES: "GetToken=1",
  });
  await server.listening();
  [url = ""] = /http:\/\/\S+\/metrics/.exec(server.printed.stdout) ?? [];
});
afterAll(async () => {
  server.child.kill("SIGTERM");
  expect(await server.exited).toBe(0);
  await redis.stop();
});

/** The samples that are not zero. */
async function samples(): Promise<Record<string, number>> {
  const text = await (await fetch(url)).text();
  const all = Array.from(
    text.matchAll(/^([^#\s]+) (\d+)$/gm),
    ([, name = "", value]) => [name, Number(value)] as const,
  );
  return Object.fromEntries(all.filter(([, value]) => value > 0));
}

test("verifications are counted by answer and refused calls by reason, without names or ids", async () => {
  expect(await samples()).toEqual({});
  const { tokens, verification, close } = clients(await server.listening());
  const first = await tokens.createToken({ name: "my_token" });
  const second = await tokens.renewToken({ name: "my_token", gracePeriod: { seconds: 60n, nanos: 0 } });
  const third = await tokens.renewToken({ name: "my_token", gracePeriod: { seconds: 60n, nanos: 0 } });
  const fourth = await tokens.renewToken({ name: "my_token" });
  for (const { token } of [first, second, third, third, fourth]) await verification.verifyToken({ token });
  await verification.verifyToken({ token: "no token" });
  await tokens.renewToken({ name: "my_token", gracePeriod: { seconds: 60n, nanos: 0 } });
  await verification.verifyToken(fourth);
  for (let i = 0; i < 7; i += 1) await tokens.getToken({ name: "my_token" }).catch(() => {});
  close();
  expect(await samples()).toEqual({
    'apitoken_verifications_total{answer="current"}': 1,
    'apitoken_verifications_total{answer="previous"}': 1,
    'apitoken_verifications_total{answer="malformed"}': 1,
    'apitoken_verifications_total{answer="unknown"}': 2,
    'apitoken_verifications_total{answer="superseded"}': 2,
    'apitoken_refused_calls_total{reason="RATE_LIMITED"}': 2,
  });
});

test("only the metrics are there", async () => {
  for (const path of ["", "metrics/", "..%2f..%2fetc/passwd"]) {
    expect((await fetch(url.replace("metrics", path))).status).toBe(404);
  }
});
