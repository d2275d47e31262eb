// Nothing leaks: a real server is driven through every RPC and every refusal with marked secrets, and then everything that
// it and its Redis have left behind is searched for them.
import type { Client } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { ApiTokenServiceService as Tokens } from "../gen/apitoken/v1/api_token_service.js";
import { TokenVerificationServiceService as Verification } from "../gen/apitoken/v1/token_verification_service.js";
import { HealthService as Health } from "../gen/grpc/health/v1/health.js";
import { ServerReflectionService as Reflection } from "../gen/grpc/reflection/v1/reflection.js";
import { ServerReflectionService as ReflectionV1Alpha } from "../gen/grpc/reflection/v1alpha/reflection.js";
import { STATUS_OF } from "../src/grpc/status.js";
import { Calls } from "./canary/calls.js";
import { littleRoom, redisFaults } from "./canary/faults.js";
import { startWatchedRedis, type WatchedRedis } from "./canary/redis.js";
import * as scenario from "./canary/scenario.js";
import { formsOf, Secrets } from "./canary/secrets.js";
import { eventually } from "./harness.js";
import { clientCertificate, SERVICES, type SecureService, startSecureService } from "./secure-service.js";
import { type ServerProcess, startServerProcess } from "./server-process.js";

const LIMIT_MS = 40_000;
const DEBUG_VARIABLES = ["GRPC_TRACE", "GRPC_NODE_TRACE", "GRPC_NODE_DEBUG_SEND_ERROR_DETAILS", "NODE_DEBUG", "DEBUG"];

const secrets = new Secrets();
const calls = new Calls();
const clients: Client[] = [];
const servers: ServerProcess[] = [];
let redis: WatchedRedis;
let service: SecureService;
let stage: scenario.Stage;
let metricsUrl: string;
let left: Readonly<Record<string, string>>;

beforeAll(async () => {
  redis = await startWatchedRedis(secrets.text("the password of Redis"));
  service = await startSecureService({
    NODE_ENV: "production",
    LOG_LEVEL: "trace",
    METRICS_ADDRESS: "127.0.0.1:0",
    // Found by discovery.
    JWT_JWKS_URL: "",
    REDIS_URL: redis.url,
    MAX_TOKENS_PER_USER: "10",
    CALL_TIMEOUT: "1s",
  });
  servers.push(service.server);
  [metricsUrl = ""] = /http\S+\/metrics/.exec(service.server.printed.stdout) ?? [];
  service.issuer.behave("fail");
  const gateway = await clientCertificate(service.clientAuthority, { uris: [SERVICES.verifier] });
  const portal = await clientCertificate(service.clientAuthority, { uris: [SERVICES.console] });
  for (const [name, { privateKeyPem }] of Object.entries({ server: service.certificate, gateway, portal })) {
    secrets.mark(`private key of ${name}`, Buffer.from(privateKeyPem.replace(/-----.*-----/g, ""), "base64"));
  }
  stage = { calls, secrets, redis, service, gateway, portal, clients };

  const cast = await scenario.lifecycle(stage);
  await scenario.badRequests(stage, cast);
  await scenario.badCredentials(stage, cast);
  await scenario.rawCalls(stage, cast);
  await scenario.healthAndReflection(stage, cast);
  const second = start({ CALL_RATES: "GetToken=1", MAX_CONCURRENT_CALLS_PER_CALLER: "1" });
  await littleRoom(stage, await second.listening(), cast);
  await fetch(`${metricsUrl}?token=${cast.current}`, { headers: { authorization: `Bearer ${cast.current}` } });
  await fetch(`${metricsUrl}/${cast.current}`);
  await redisFaults(stage, cast);
  await calls.unary(cast.admin, Tokens.listTokenEvents, { userId: "-", pageSize: 1000 });
  left = await places();
}, LIMIT_MS);

afterAll(async () => {
  for (const client of clients) client.close();
  for (const server of servers) await server.stop();
  await service.stop();
  await redis.stop();
});

/** Another server process with these settings beside those of the first. */
function start(variables: Readonly<Record<string, string>>, args: readonly string[] = []): ServerProcess {
  const server = startServerProcess({ ...service.variables, ...variables }, { args, inherit: false });
  servers.push(server);
  return server;
}

/** Everything that is left behind by now, by place. */
async function places(): Promise<Readonly<Record<string, string>>> {
  const metrics = await fetch(metricsUrl);
  return {
    "standard output": servers.map(({ printed }) => printed.stdout).join("\n"),
    log: servers.map(({ printed }) => printed.stderr).join("\n"),
    statuses: calls.statuses.join("\n"),
    answers: calls.answers.join("\n"),
    metrics: await metrics.text(),
    ...(await redis.places()),
  };
}

/** `place: secret` for each secret of which a piece is there. */
function leaks(where: Readonly<Record<string, string>>): string[] {
  return Object.entries(where).flatMap(([place, text]) => secrets.find(text).map((name) => `${place}: ${name}`));
}

test("every method of every service has answered in this run", () => {
  const methods = [Tokens, Verification, Health, Reflection, ReflectionV1Alpha].flatMap((service): string[] =>
    Object.values(service).map(({ path }: { path: string }) => path),
  );
  expect([...calls.answered].sort()).toEqual(methods.sort());
});

test("every reason of the error table was seen in this run", () => {
  expect([...calls.reasons].sort()).toEqual([...Object.keys(STATUS_OF), "INTERNAL"].sort());
});

test("no secret is in the output, the log, a status, an answer, an event, the metrics, or anywhere in Redis", () => {
  expect(secrets.names.length).toBeGreaterThan(100);
  expect(leaks(left)).toEqual([]);
});

test("every place was really read: it holds what belongs there", () => {
  expect(left).toMatchObject({
    "standard output": expect.stringContaining("apitokend listens on"),
    log: expect.stringContaining('"user_id":"alice"'),
    statuses: expect.stringContaining("a valid credential is required"),
    answers: expect.stringContaining('"actor":"user:alice"'),
    metrics: expect.stringMatching(/answer="superseded"\} 2/),
    "Redis keys": expect.stringMatching(/apitoken:\{\w{16}\}:t:\w{12}/),
    "Redis values": expect.stringContaining("superseded_use"),
    "Redis DUMP": expect.stringContaining("superseded_use"),
    RDB: expect.stringContaining("superseded_use"),
    AOF: expect.stringContaining("superseded_use"),
    MONITOR: expect.stringContaining("evalsha"),
    "Redis log": expect.stringContaining("Ready to accept connections"),
  });
});

test("a secret that is planted in a real place is found there, and in every form in any place", async () => {
  // As the id of a user who signs in it goes wherever ids may go.
  const sub = secrets.text("planted");
  const planted = await scenario.signIn(stage, sub);
  const { token } = await calls.unary(planted, Tokens.createToken, { name: "planted" });
  secrets.markToken("planted token", token);
  await calls.unary(planted, Tokens.listTokenEvents, {});
  const found = await eventually(async () => {
    const lines = leaks(await places()).filter((line) => line.endsWith(": planted"));
    if (!lines.includes("log: planted")) throw new Error("the log line is not there yet");
    return lines;
  });
  const real = ["log", "answers", "Redis values", "Redis DUMP", "RDB", "AOF", "MONITOR"];
  expect(found).toEqual(real.map((place) => `${place}: planted`));
  for (const [place, text] of Object.entries(left)) {
    for (const form of formsOf(Buffer.from(sub))) {
      // The JWT that holds it can share a piece with it.
      expect(leaks({ [place]: `${text.slice(-1000)}${form}` })).toContain(`${place}: planted`);
    }
  }
});

test.each(DEBUG_VARIABLES)("in production a server with %s does not start", async (name) => {
  const server = start({ [name]: "all" });
  expect(await server.exited).toBe(1);
  expect(server.printed.stdout).toBe("");
  expect(server.printed.stderr).toContain(`${name} must not be set in production: it can print secrets`);
  expect(secrets.find(server.printed.stderr)).toEqual([]);
});

test("--print-config prints the address of Redis without its password", async () => {
  const server = start({}, ["--print-config"]);
  expect(await server.exited).toBe(0);
  expect(server.printed.stdout).toMatch(/^REDIS_URL=redis:\/\/canary:\*\*\*@127\.0\.0\.1:\d+$/m);
  expect(secrets.find(server.printed.stdout + server.printed.stderr)).toEqual([]);
});
