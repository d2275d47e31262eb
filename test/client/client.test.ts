// The client of the npm package, from its sources; `npm run test:package` tries it as it is installed.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { afterEach, expect, test } from "@jest/globals";
import * as client from "../../src/client/main.js";
import { type Service, startService } from "../harness.js";
import { startSecureService } from "../secure-service.js";

const ROOT = join(import.meta.dirname, "../../..");
const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function startedService(): Promise<{ service: Service; connection: client.Connection }> {
  const service = await startService();
  const connection = client.connect({ server: service.address, insecure: true });
  stops.push(service.stop, connection.close);
  return { service, connection };
}

test("it has every message, enumeration and service of the contract", () => {
  const { file } = fromBinary(FileDescriptorSetSchema, readFileSync(join(ROOT, "gen/descriptor.binpb")));
  const own = file.filter((each) => each.package === "apitoken.v1");
  const names = own.flatMap(({ messageType, enumType, service }) => [
    ...[...messageType, ...enumType].map(({ name }) => name),
    ...service.map(({ name }) => `${name}Client`),
  ]);
  expect(names.length).toBeGreaterThan(20);
  expect(names.filter((name) => !(name in client))).toEqual([]);
});

test("its service config is the published one", () => {
  const published: unknown = JSON.parse(readFileSync(join(ROOT, "clients/service-config.json"), "utf8"));
  expect(client.SERVICE_CONFIG).toEqual(published);
});

test("fields that are left out or undefined have their defaults", async () => {
  const { connection } = await startedService();
  const { apiToken } = await connection.tokens.createToken({ name: "my_token", role: undefined });
  expect(apiToken).toMatchObject({ name: "my_token", role: "", ttl: { seconds: 7_776_000n } });
});

test("a refusal has its reason, its fields, and how long to wait", async () => {
  const { service, connection } = await startedService();
  const refusal = await connection.tokens.renewToken({ name: " ", requestId: "x" }).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(client.Refusal);
  expect(refusal).toMatchObject({ code: "INVALID_ARGUMENT", reason: "INVALID_FIELD", sqlState: "3D008" });
  expect((refusal as client.Refusal).violations.map(({ field }) => field)).toEqual(["name", "request_id"]);
  await service.redis.shutDown();
  await expect(connection.tokens.revokeToken({ name: "my_token" })).rejects.toMatchObject({
    code: "UNAVAILABLE",
    reason: "STORE_UNAVAILABLE",
    retryAfterMs: expect.any(Number),
  });
});

test("a call ends at its time limit, and when its signal says so", async () => {
  const { service, connection } = await startedService();
  await service.redis.client.client("PAUSE", 60_000, "WRITE");
  const call = (settings: client.CallSettings) => connection.tokens.createToken({ name: "my_token" }, settings);
  await expect(call({ timeoutMs: 50 })).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED", reason: undefined });
  await expect(call({ signal: AbortSignal.timeout(50) })).rejects.toMatchObject({ code: "CANCELLED" });
  await expect(call({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "CANCELLED" });
  await service.redis.client.client("UNPAUSE");
});

test("it asks for the credential at each call, over TLS only", async () => {
  const secure = await startSecureService();
  stops.push(secure.stop);
  let asked = 0;
  const token = async () => {
    asked += 1;
    return secure.issuer.sign({ sub: "alice", organization_id: "acme" });
  };
  const options = { server: secure.bearerAddress, tls: { ca: secure.serverAuthority.certificatePem } };
  const connection = client.connect({ ...options, token });
  stops.push(connection.close);
  await connection.tokens.createToken({ name: "my_token" });
  const { apiToken } = await connection.tokens.getToken({ name: "my_token" });
  expect([apiToken?.userId, asked]).toEqual(["alice", 2]);
  const failing = client.connect({ ...options, token: () => Promise.reject(new Error("no key")) });
  stops.push(failing.close);
  await expect(failing.tokens.listTokens({})).rejects.toMatchObject({ message: expect.stringContaining("no key") });
  expect(() => client.connect({ server: secure.bearerAddress, insecure: true, token: "t" })).toThrow(
    "a token must not travel without TLS",
  );
});
