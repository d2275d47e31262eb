// The files of deploy/ fit the server: its settings, ports, health names and the time that it takes to end.
import { execFileSync, spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { afterAll, describe, expect, test } from "@jest/globals";
import { HealthClient, HealthCheckResponse_ServingStatus as ServingStatus } from "../../gen/grpc/health/v1/health.js";
import { describeConfig, readConfig } from "../../src/config.js";
import { DRAIN_LIMIT_MS } from "../../src/grpc/server.js";
import { output } from "../clients/programs.js";
import { freePort } from "../faults/free-port.js";
import { redisServer, rpcs, temporaryFolder } from "../harness.js";
import { startServerProcess } from "../server-process.js";
import { inImage } from "./dockerfile.js";
import {
  assignments,
  compose,
  container,
  ENVIRONMENTS,
  IMAGE,
  manifest,
  ROOT,
  seconds,
  text,
  unitLines,
  type Variables,
} from "./manifests.js";

const DRAIN_SECONDS = DRAIN_LIMIT_MS / 1000;
const kinds = Object.entries(ENVIRONMENTS);
const portOf = (address: string | undefined) => Number(address?.split(":").at(-1));

const ended: (() => unknown)[] = [];
afterAll(async () => {
  for (const end of ended.reverse()) await end();
});

test.each(kinds)("every variable of %s is one that the server reads", (_kind, variables) => {
  const known = [...describeConfig({}).matchAll(/^([A-Z_]+)=/gm)].map(([, name = ""]) => name);
  const strangers = Object.keys(variables).filter((name) => !known.includes(name));
  expect(strangers.filter((name) => !["NODE_ENV", "XDG_CACHE_HOME"].includes(name))).toEqual([]);
});

test.each(kinds)("the settings of %s go together, with authentication and TLS", (_kind, variables) => {
  const config = readConfig(variables);
  expect(config).toMatchObject({ isDevelopment: false, tls: expect.anything(), jwt: expect.anything() });
  expect(variables["NODE_ENV"]).toBe("production");
});

test("the image alone, without authentication, is refused", () => {
  const [{ base } = { base: "" }] = IMAGE.slice(-1);
  expect(base).toMatch(/^node:24-/);
  const variables = Object.fromEntries(
    ["NODE_ENV", "LISTEN_ADDRESS"].map((name) => [name, ENVIRONMENTS["compose"]?.[name]]),
  );
  expect(() => readConfig(variables)).toThrow("NODE_ENV=production needs authentication");
});

test("the image runs as nobody in particular, by number, and gets signals itself", () => {
  expect(inImage(IMAGE, "USER")).toEqual(["1000:1000"]);
  const [entrypoint = ""] = inImage(IMAGE, "ENTRYPOINT");
  expect(JSON.parse(entrypoint)).toEqual(["node", "/app/dist/apitokend.js"]);
});

test("what the Dockerfile copies is let through by .dockerignore, and nothing else", () => {
  const copies = IMAGE.flatMap(({ instructions }) => instructions).filter(({ name }) => name === "COPY");
  const own = copies.filter(({ options }) => options["from"] === undefined);
  const sources = own.flatMap(({ text: words }) => words.split(" ").slice(0, -1));
  const included = [...text(".dockerignore").matchAll(/^!(.*)$/gm)].map(([, path = ""]) => path);
  expect(text(".dockerignore")).toMatch(/^\*$/m);
  expect([...new Set(sources)].sort()).toEqual(included.sort());
  for (const path of included) expect([path, existsSync(join(ROOT, path))]).toEqual([path, true]);
});

test("ports of the image, its container and its service are those that the server listens on", () => {
  const { LISTEN_ADDRESS, MTLS_LISTEN_ADDRESS, HEALTH_ADDRESS, METRICS_ADDRESS } = ENVIRONMENTS["kubernetes"] ?? {};
  const ports = Object.fromEntries(container().ports.map(({ name, containerPort }) => [name, containerPort]));
  expect(ports).toEqual({
    grpc: portOf(LISTEN_ADDRESS),
    "grpc-mtls": portOf(MTLS_LISTEN_ADDRESS),
    health: portOf(HEALTH_ADDRESS),
    metrics: portOf(METRICS_ADDRESS),
  });
  for (const { port, targetPort } of manifest("Service").spec?.ports ?? []) expect(ports[targetPort]).toBe(port);
  expect(inImage(IMAGE, "EXPOSE")).toEqual(["50051 50052 50053"]);
  const { apitokend } = compose.services;
  expect(apitokend.ports.map((port) => portOf(port))).toEqual(
    [ENVIRONMENTS["compose"]?.["LISTEN_ADDRESS"], apitokend.environment["MTLS_LISTEN_ADDRESS"]].map(portOf),
  );
});

test("whoever stops the server waits longer than it drains", () => {
  const { terminationGracePeriodSeconds } = manifest("Deployment").spec?.template?.spec ?? {};
  const pause = container().lifecycle.preStop.sleep.seconds;
  expect(terminationGracePeriodSeconds).toBeGreaterThan(pause + DRAIN_SECONDS + 5);
  expect(seconds(compose.services.apitokend.stop_grace_period)).toBeGreaterThan(DRAIN_SECONDS + 5);
  // And as its private Redis takes, at most, to end.
  expect(seconds(unitLines("TimeoutStopSec")[0])).toBeGreaterThan(DRAIN_SECONDS + 10 + 5);
  expect(unitLines("KillMode")).toEqual(["mixed"]);
});

test("what the manifests name is there: secrets, settings, mounted files, labels", () => {
  const { env, volumeMounts } = container();
  expect(env).toEqual([{ name: "REDIS_URL", valueFrom: { secretKeyRef: { name: "apitokend", key: "redis-url" } } }]);
  const files = [...text("deploy/kubernetes/apitokend.yaml").matchAll(/(?:secretName|name): (apitokend-\S+)$/gm)];
  for (const [, name = ""] of files) {
    const kind = name === "apitokend-tls" ? "Secret" : "ConfigMap";
    expect(manifest(kind, name)).toBeDefined();
  }
  const data = manifest("ConfigMap").data ?? {};
  const mounted = [
    ...Object.keys(manifest("Secret", "apitokend-tls").stringData ?? {}).map(
      (file) => `${volumeMounts[0]?.mountPath}/${file}`,
    ),
    ...Object.keys(manifest("ConfigMap", "apitokend-client-ca").data ?? {}).map(
      (file) => `${volumeMounts[1]?.mountPath}/${file}`,
    ),
  ];
  expect(mounted).toEqual([data["TLS_CERT_FILE"], data["TLS_KEY_FILE"], data["TLS_CLIENT_CA_FILE"]]);
  const { selector, template } = manifest("Deployment").spec ?? {};
  expect(selector).toEqual({ matchLabels: template?.metadata.labels });
  expect(manifest("Service").spec?.selector).toEqual(template?.metadata.labels);
  expect(manifest("PodDisruptionBudget").spec?.selector).toEqual(selector);
});

test("the keys that the unit loads are those that the server reads", () => {
  const loaded = unitLines("LoadCredential").map((line) => `%d/${line.split(":")[0]}`);
  const environment = assignments(unitLines("Environment"));
  expect([environment["TLS_CERT_FILE"], environment["TLS_KEY_FILE"]]).toEqual(loaded);
});

const systemd = existsSync("/usr/bin/systemd-analyze") ? test : test.skip;

systemd("systemd finds no fault in the unit", async () => {
  const folder = await temporaryFolder();
  const unit = join(folder.path, "apitokend.service");
  // It looks for the program.
  writeFileSync(unit, text("deploy/apitokend.service").replace(/^ExecStart=.*$/m, `ExecStart=${process.execPath}`));
  execFileSync("systemd-analyze", ["verify", unit], { stdio: "pipe" });
  await folder.remove();
});

describe("the server that compose describes, over a Redis as compose starts it", () => {
  test("starts, and answers the probes of Kubernetes", async () => {
    const folder = await temporaryFolder();
    ended.push(() => folder.remove());
    const issuer = join(folder.path, "local-issuer");
    await output([process.execPath, join(ROOT, "dist/test/local-issuer.js"), "--dir", issuer]);
    const redisPort = await startRedisOf(compose.services.redis.command, folder.path);
    const healthPort = await freePort();
    const settings = ENVIRONMENTS["compose"] ?? {};
    expect(settings).toMatchObject(issuedFor(issuer, settings));

    const path = compose.services.apitokend.volumes[0]?.target ?? "";
    const entries = Object.entries(settings).map(([name, value]) => [name, value.replace(path, issuer)]);
    const server = startServerProcess({
      ...Object.fromEntries(entries),
      // Here the ports of the image may be taken, and others can reach 0.0.0.0.
      LISTEN_ADDRESS: "127.0.0.1:0",
      MTLS_LISTEN_ADDRESS: "127.0.0.1:0",
      HEALTH_ADDRESS: `127.0.0.1:${healthPort}`,
      REDIS_URL: settings["REDIS_URL"]?.replace("redis:6379", `127.0.0.1:${redisPort}`) ?? "",
    });
    ended.push(() => server.stop());
    await server.listening();
    const client = new HealthClient(`127.0.0.1:${healthPort}`, credentials.createInsecure());
    const { startupProbe, readinessProbe, livenessProbe } = container();
    for (const { grpc } of [startupProbe, readinessProbe, livenessProbe]) {
      expect(grpc.port).toBe(portOf(settings["HEALTH_ADDRESS"]));
      const answer = await rpcs(client).check({ service: grpc.service ?? "" });
      expect(answer).toEqual({ status: ServingStatus.SERVING });
    }
    expect(livenessProbe.grpc.service).toBe("liveness");
    client.close();
    expect(await server.stop("SIGTERM")).toBe(0);
  });
});

/** What the files of `npm run local-issuer` are good for. */
function issuedFor(folder: string, settings: Variables): Variables {
  const lines = readFileSync(join(folder, "env"), "utf8").matchAll(/^export (\w+)=(.*)$/gm);
  const made = Object.fromEntries(Array.from(lines, ([, name = "", value = ""]) => [name, value.replaceAll("'", "")]));
  const names = ["JWT_ISSUER", "JWT_AUDIENCE", "SERVICE_IDENTITIES"].filter((name) => name in settings);
  return Object.fromEntries(names.map((name) => [name, made[name] ?? ""]));
}

async function startRedisOf([, ...args]: readonly string[], folder: string): Promise<number> {
  const { command, env } = await redisServer();
  const port = await freePort();
  const child = spawn(command, [...args, "--port", String(port), "--bind", "127.0.0.1", "--dir", folder], {
    env: { ...env },
  });
  ended.push(() => child.kill("SIGKILL"));
  await new Promise<void>((resolve, reject) => {
    child.once("exit", () => reject(new Error("Redis did not start")));
    child.stdout.on("data", (bytes: Buffer) => {
      if (bytes.includes("Ready to accept connections")) resolve();
    });
  });
  return port;
}
