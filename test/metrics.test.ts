// What Prometheus is given: what is measured, under the names and labels of docs/metrics.md, and nothing of any caller.
import { Client, credentials } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { documentedMetrics } from "./documented-metrics.js";
import { eventually, startRedis } from "./harness.js";
import { clients, metricsOf, type ServerProcess, startServerProcess } from "./server-process.js";

const SERVICES = ["apitoken.v1.ApiTokenService", "apitoken.v1.TokenVerificationService"];

let redis: Awaited<ReturnType<typeof startRedis>>;
let server: ServerProcess;
beforeAll(async () => {
  redis = await startRedis();
  server = startServerProcess({
    REDIS_URL: `unix://${redis.socketPath}`,
    METRICS_ADDRESS: "127.0.0.1:0",
    CALL_RATES: "GetToken=1",
  });
  await server.listening();
});
afterAll(async () => {
  server.child.kill("SIGTERM");
  expect(await server.exited).toBe(0);
  await redis.stop();
});

/** The samples of the metrics with such a name that are not zero. */
async function samples(name: RegExp): Promise<Record<string, number>> {
  const all = (await metricsOf(server)).samples;
  return Object.fromEntries([...all].filter(([sample, value]) => name.test(sample) && value > 0));
}

const callCount = (method: string, status: string, error = "") =>
  `rpc_server_call_duration_seconds_count{rpc_system_name="grpc",rpc_method="${method}",` +
  `rpc_response_status_code="${status}"${error && `,error_type="${error}"`}}`;

test("verifications are counted by answer, refused calls by reason, and every call by method and status", async () => {
  expect(await samples(/^apitoken_(?:verif|refus)|^rpc/)).toEqual({});
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
  await tokens.revokeToken({ name: "missing" }).catch(() => {});
  close();
  expect(await samples(/^apitoken_(?:verif|refus)/)).toEqual({
    'apitoken_verifications_total{answer="current"}': 1,
    'apitoken_verifications_total{answer="previous"}': 1,
    'apitoken_verifications_total{answer="malformed"}': 1,
    'apitoken_verifications_total{answer="unknown"}': 2,
    'apitoken_verifications_total{answer="superseded"}': 2,
    'apitoken_refused_calls_total{reason="RATE_LIMITED"}': 2,
  });
  const [owners, verifiers] = SERVICES;
  expect(await samples(/^rpc_\w+_count/)).toEqual({
    [callCount(`${owners}/CreateToken`, "OK")]: 1,
    [callCount(`${owners}/RenewToken`, "OK")]: 4,
    [callCount(`${verifiers}/VerifyToken`, "OK")]: 7,
    [callCount(`${owners}/GetToken`, "OK")]: 5,
    [callCount(`${owners}/GetToken`, "RESOURCE_EXHAUSTED")]: 2,
    [callCount(`${owners}/RevokeToken`, "NOT_FOUND")]: 1,
  });
});

test("the buckets of a histogram are cumulative, and its sum is in seconds", async () => {
  const verify = Object.entries(await samples(/^rpc_\w+_(?:bucket|sum)\{.*VerifyToken"/));
  const buckets = verify.filter(([name]) => name.includes("_bucket")).map(([, value]) => value);
  expect(buckets).toEqual([...buckets].sort((a, b) => a - b));
  expect(buckets.at(-1)).toBe(7);
  const [, sum = 0] = verify.find(([name]) => name.includes("_sum")) ?? [];
  expect(sum).toBeGreaterThan(0.0001);
  expect(sum).toBeLessThan(7);
});

test("a method that does not exist is _OTHER, and a call that its client gives up is CANCELLED, once", async () => {
  const address = await server.listening();
  const client = new Client(address, credentials.createInsecure());
  const pass = (bytes: Buffer) => bytes;
  await new Promise<void>((done) => {
    client.makeUnaryRequest("/no.Such/Method", pass, pass, Buffer.alloc(0), () => done());
  });
  const watch = client.makeServerStreamRequest("/grpc.health.v1.Health/Watch", pass, pass, Buffer.alloc(0));
  await new Promise((first) => watch.once("data", first));
  watch.on("error", () => {});
  watch.cancel();
  await eventually(async () =>
    expect(await samples(/^rpc_\w+_count\{.*(?:_OTHER|Health)/)).toEqual({
      [callCount("_OTHER", "UNIMPLEMENTED", "UNIMPLEMENTED")]: 1,
      [callCount("grpc.health.v1.Health/Watch", "CANCELLED")]: 1,
    }),
  );
  client.close();
});

test("calls that run are told, and so is a store that does not answer", async () => {
  const { verification, tokens, close } = clients(await server.listening());
  const { token } = await tokens.createToken({ name: "waiting" });
  const store = (operation: string, error = "") =>
    `apitoken_store_call_duration_seconds_count{operation="${operation}"${error && `,error_type="${error}"`}}`;
  const before = await samples(/^apitoken_store/);
  expect(before).toMatchObject({ [store("read")]: expect.any(Number), [store("mutate")]: expect.any(Number) });
  expect(before[store("read", "unavailable")]).toBeUndefined();
  expect(await samples(/^apitoken_(?:serving|running_calls)/)).toEqual({ apitoken_serving: 1 });

  await redis.client.call("CLIENT", "PAUSE", 60_000, "ALL");
  const calls = [1, 2, 3].map(() => verification.verifyToken({ token }));
  const refusals = Promise.allSettled(calls);
  await eventually(async () => expect(await samples(/^apitoken_running_calls/)).toEqual({ apitoken_running_calls: 3 }));
  for (const { status } of await refusals) expect(status).toBe("rejected");
  expect(await samples(/^apitoken_store_\w+_count/)).toMatchObject({ [store("read", "unavailable")]: 3 });
  expect(await samples(/^rpc_\w+_count\{.*UNAVAILABLE/)).toEqual({
    [callCount(`${SERVICES[1]}/VerifyToken`, "UNAVAILABLE", "UNAVAILABLE")]: 3,
  });
  await eventually(async () => expect(await samples(/^apitoken_serving/)).toEqual({}));
  close();
});

test("the table in docs/metrics.md has every metric with its type and labels, and no other", async () => {
  const { types, samples } = await metricsOf(server);
  const served = Array.from(types, ([name, type]) => {
    const ours = [...samples.keys()].filter((sample) =>
      new RegExp(`^${name}(?:_bucket|_sum|_count)?(?:\\{|$)`).test(sample),
    );
    const labels = ours.flatMap((sample) => [...sample.matchAll(/[{,](\w+)="/g)].map(([, label = ""]) => label));
    return [name, type, new Set(labels.filter((label) => label !== "le"))] as const;
  });
  const documented = documentedMetrics();
  const lines = (metrics: readonly (readonly [name: string, type: string, ...rest: unknown[]])[]) =>
    metrics.map(([name, type]) => `${name} ${type}`).sort();
  expect(lines(Array.from(documented, ([name, { type }]) => [name, type] as const))).toEqual(lines(served));
  for (const [name, , labels] of served)
    expect([name, documented.get(name)?.labels]).toEqual([name, expect.arrayContaining([...labels])]);
});

test("only the metrics are there", async () => {
  const { url } = await metricsOf(server);
  for (const path of ["", "metrics/", "..%2f..%2fetc/passwd"]) {
    expect((await fetch(url.replace("metrics", path))).status).toBe(404);
  }
});
