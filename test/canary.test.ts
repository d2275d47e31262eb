// Nothing leaks: a real server is driven through every RPC and every refusal with marked secrets, and then everything that
// it and its Redis have left behind is searched for them.
import { type ChildProcess, spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
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
import { createAuthority } from "./certificates.js";
import { eventually, temporaryFolder } from "./harness.js";
import { startIssuer } from "./issuer.js";

const ROOT = resolve(import.meta.dirname, "../..");
const LIMIT_MS = 40_000;
const GATEWAY = "spiffe://example.org/gateway";
const PORTAL = "spiffe://example.org/portal";
const DEBUG_VARIABLES = ["GRPC_TRACE", "GRPC_NODE_TRACE", "GRPC_NODE_DEBUG_SEND_ERROR_DETAILS", "NODE_DEBUG", "DEBUG"];

/** Reasons that this run does not provoke, with the cause. */
const UNPROVOKED: Readonly<Record<string, string>> = {};

const secrets = new Secrets();
const calls = new Calls();
const clients: Client[] = [];
const servers: ServerProcess[] = [];
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let redis: WatchedRedis;
let stage: scenario.Stage;
let env: Record<string, string>;
let metricsUrl: string;
let left: Readonly<Record<string, string>>;

beforeAll(async () => {
  folder = await temporaryFolder();
  redis = await startWatchedRedis(secrets.text("the password of Redis"));
  const issuer = await startIssuer();
  const authority = await createAuthority("canary");
  const names = { dnsNames: ["localhost"], ipAddresses: ["127.0.0.1"] };
  const server = await authority.issue({ commonName: "localhost", usage: "server", ...names });
  const gateway = await authority.issue({ commonName: "gateway", usage: "client", uris: [GATEWAY] });
  const portal = await authority.issue({ commonName: "portal", usage: "client", uris: [PORTAL] });
  for (const [name, { privateKeyPem }] of Object.entries({ server, gateway, portal })) {
    secrets.mark(`private key of ${name}`, Buffer.from(privateKeyPem.replace(/-----.*-----/g, ""), "base64"));
  }
  const file = async (name: string, text: string) => {
    const path = join(folder.path, name);
    await writeFile(path, text, { mode: 0o600 });
    return path;
  };
  const caFile = await file("ca.pem", authority.certificatePem);
  env = {
    NODE_ENV: "production",
    LOG_LEVEL: "trace",
    LISTEN_ADDRESS: "127.0.0.1:0",
    MTLS_LISTEN_ADDRESS: "127.0.0.1:0",
    METRICS_ADDRESS: "127.0.0.1:0",
    TLS_CERT_FILE: await file("server.pem", server.certificatePem),
    TLS_KEY_FILE: await file("server-key.pem", server.privateKeyPem),
    TLS_CLIENT_CA_FILE: caFile,
    SERVICE_IDENTITIES: `${GATEWAY}=verify ${PORTAL}=act-for-users`,
    JWT_ISSUER: issuer.issuer,
    JWT_AUDIENCE: issuer.audience,
    REDIS_URL: redis.url,
    MAX_TOKENS_PER_USER: "10",
    CALL_TIMEOUT: "1s",
  };
  const first = start(env);
  const [bearers, services] = await first.listening();
  metricsUrl = await first.metricsUrl();
  await issuer.stop();
  stage = {
    calls,
    secrets,
    redis,
    issuer,
    addresses: [bearers, services],
    caFile,
    gateway,
    portal,
    clients,
  };

  const cast = await scenario.lifecycle(stage);
  await scenario.badRequests(stage, cast);
  await scenario.badCredentials(stage, cast);
  await scenario.rawCalls(stage, cast);
  await scenario.healthAndReflection(stage, cast);
  const second = start({ ...env, CALL_RATES: "GetToken=1", MAX_CONCURRENT_CALLS_PER_CALLER: "1" });
  await littleRoom(stage, (await second.listening())[0], cast);
  await fetch(`${metricsUrl}?token=${cast.current}`, { headers: { authorization: `Bearer ${cast.current}` } });
  await fetch(`${metricsUrl}/${cast.current}`);
  await redisFaults(stage, cast);
  await calls.unary(cast.admin, Tokens.listTokenEvents, { userId: "-", pageSize: 1000 });
  left = await places();
}, LIMIT_MS);

afterAll(async () => {
  for (const client of clients) client.close();
  for (const { child, exited } of servers) {
    child.kill("SIGKILL");
    await exited;
  }
  await redis.stop();
  await folder.remove();
});

interface ServerProcess {
  readonly child: ChildProcess;
  readonly printed: { stdout: string; stderr: string };
  readonly exited: Promise<number | null>;
}

/** A server process with the environment given and nothing else, and what it has printed so far. */
function start(variables: Record<string, string>, args: readonly string[] = []) {
  const child: ChildProcess = spawn(process.execPath, ["dist/src/main.js", ...args], { cwd: ROOT, env: variables });
  const printed = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name]?.on("data", (bytes: Buffer) => {
      printed[name] += bytes.toString("latin1");
    });
  }
  const exited = new Promise<number | null>((done) => child.on("close", done));
  const wordsOf = (pattern: RegExp) =>
    eventually(() => {
      const match = pattern.exec(printed.stdout);
      if (match === null) throw new Error(`not there yet: ${printed.stdout}${printed.stderr}`);
      return match.slice(1);
    }, 15_000);
  const listening = async () => {
    const [bearers = "", services = ""] = await wordsOf(/listens on (\S+) and (\S+) and/);
    return [bearers, services] as const;
  };
  const metricsUrl = async () => (await wordsOf(/(http\S+\/metrics)\.\n/)).join("");
  servers.push({ child, printed, exited });
  return { printed, exited, listening, metricsUrl };
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
  const reasons = [...Object.keys(STATUS_OF), "INTERNAL"].filter((reason) => !Object.hasOwn(UNPROVOKED, reason));
  expect([...calls.reasons].sort()).toEqual(reasons.sort());
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
    "Redis keys": expect.stringMatching(/apitoken:\{\w{16}\}:token:\w{12}/),
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
  const server = start({ ...env, [name]: "all" });
  expect(await server.exited).toBe(1);
  expect(server.printed.stdout).toBe("");
  expect(server.printed.stderr).toContain(`${name} must not be set in production: it can print secrets`);
  expect(secrets.find(server.printed.stderr)).toEqual([]);
});

test("--print-config prints the address of Redis without its password", async () => {
  const server = start(env, ["--print-config"]);
  expect(await server.exited).toBe(0);
  expect(server.printed.stdout).toMatch(/^REDIS_URL=redis:\/\/canary:\*\*\*@127\.0\.0\.1:\d+$/m);
  expect(secrets.find(server.printed.stdout + server.printed.stderr)).toEqual([]);
});
