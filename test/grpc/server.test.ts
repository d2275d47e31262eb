// What every call can rely on: health, reflection, the deadline cap, and what happens when Redis is away.
import { connect as connectHttp2, constants, type IncomingHttpHeaders } from "node:http2";
import { credentials, Metadata, Server, ServerCredentials, type ServiceError, status as Status } from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { pino } from "pino";
import {
  HealthClient,
  HealthService,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../../gen/grpc/health/v1/health.js";
import {
  ServerReflectionClient,
  ServerReflectionRequest,
  type ServerReflectionResponse,
} from "../../gen/grpc/reflection/v1/reflection.js";
import { ServerReflectionClient as V1AlphaClient } from "../../gen/grpc/reflection/v1alpha/reflection.js";
import { CallGuard } from "../../src/grpc/call-guard.js";
import { onHttp2Server } from "../../src/grpc/grpc-js.js";
import { Health } from "../../src/grpc/health.js";
import { eventually, rpcs, type Service, startService } from "../harness.js";

let service: Service;
beforeEach(async () => {
  service = await startService();
});
afterEach(() => service.stop());

const SERVICES = ["", "apitoken.v1.ApiTokenService", "apitoken.v1.TokenVerificationService"];

test("health answers for the server and each service, and NOT_FOUND for others", async () => {
  const client = new HealthClient(service.address, credentials.createInsecure());
  const health = rpcs(client);
  for (const name of SERVICES) expect(await health.check({ service: name })).toEqual({ status: ServingStatus.SERVING });
  await expect(health.check({ service: "nothing" })).rejects.toMatchObject({ code: "NOT_FOUND" });
  expect(Object.keys((await health.list({})).statuses).sort()).toEqual([...SERVICES, "liveness"]);
  service.health.setServing(false);
  expect(await health.check({ service: "" })).toEqual({ status: ServingStatus.NOT_SERVING });
  client.close();
});

test("a health watch tells every change, SERVICE_UNKNOWN for others, and ends when the server drains", async () => {
  const client = new HealthClient(service.address, credentials.createInsecure());
  const seen: ServingStatus[] = [];
  const watch = client.watch({ service: "" }).on("data", ({ status }) => seen.push(status));
  const unknown: ServingStatus[] = [];
  client
    .watch({ service: "nothing" })
    .on("data", ({ status }) => unknown.push(status))
    .on("error", () => {});
  const ended = new Promise((resolve) => watch.on("error", ({ code }: ServiceError) => resolve(code)));
  await eventually(() => expect(seen).toEqual([ServingStatus.SERVING]));
  service.health.setServing(false);
  service.health.setServing(false);
  service.health.setServing(true);
  await eventually(() => expect(seen).toHaveLength(3));
  await eventually(() => expect(unknown).toEqual([ServingStatus.SERVICE_UNKNOWN]));
  await service.drain();
  expect(await ended).toBe(Status.UNAVAILABLE);
  expect(seen).toEqual([
    ServingStatus.SERVING,
    ServingStatus.NOT_SERVING,
    ServingStatus.SERVING,
    ServingStatus.NOT_SERVING,
  ]);
  client.close();
});

test.each([
  ["v1", ServerReflectionClient],
  ["v1alpha", V1AlphaClient],
])(
  "reflection %s lists the services and gives every file of a symbol with its imports, until the server drains",
  async (_version, Client) => {
    const client = new Client(service.address, credentials.createInsecure());
    const stream = client.serverReflectionInfo();
    const ask = (messageRequest: ServerReflectionRequest["messageRequest"]) =>
      new Promise<ServerReflectionResponse["messageResponse"]>((resolve) => {
        stream.once("data", (response: ServerReflectionResponse) => resolve(response.messageResponse));
        stream.write({ host: "", messageRequest });
      });
    const list = await ask({ $case: "listServices", value: "" });
    expect(list?.$case === "listServicesResponse" && list.value.service.map(({ name }) => name)).toEqual([
      "apitoken.v1.ApiTokenService",
      "apitoken.v1.TokenVerificationService",
      "grpc.health.v1.Health",
      "grpc.reflection.v1.ServerReflection",
      "grpc.reflection.v1alpha.ServerReflection",
    ]);
    for (const symbol of [
      "apitoken.v1.ApiTokenService",
      "apitoken.v1.ApiTokenService.RenewToken",
      "apitoken.v1.ApiToken.uid",
    ]) {
      const answer = await ask({ $case: "fileContainingSymbol", value: symbol });
      const files = answer?.$case === "fileDescriptorResponse" ? answer.value.fileDescriptorProto : [];
      expect([symbol, files.length]).toEqual([symbol, symbol.includes("Service") ? 4 : 3]);
    }
    expect((await ask({ $case: "fileByFilename", value: "google/rpc/error_details.proto" }))?.$case).toBe(
      "fileDescriptorResponse",
    );
    for (const value of ["nothing", "", "__proto__"]) {
      expect(await ask({ $case: "fileContainingSymbol", value })).toMatchObject({
        $case: "errorResponse",
        value: { errorCode: 5 },
      });
    }
    expect(await ask(undefined)).toMatchObject({ $case: "errorResponse" });
    const ended = new Promise((resolve) => stream.on("error", ({ code }: ServiceError) => resolve(code)));
    await service.drain();
    expect(await ended).toBe(Status.UNAVAILABLE);
    client.close();
  },
);

test("a reflection client that reads nothing is not read from without limit", async () => {
  const session = connectHttp2(`http://${service.address}`, { settings: { initialWindowSize: 0 } });
  const path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
  const stream = session.request(
    { ":method": "POST", ":path": path, "content-type": "application/grpc" },
    { endStream: false },
  );
  for (const emitter of [session, stream]) emitter.on("error", () => {});
  const message = ServerReflectionRequest.encode({
    host: "h".repeat(200),
    messageRequest: { $case: "fileContainingSymbol", value: "apitoken.v1.ApiTokenService" },
  }).finish();
  const frame = Buffer.concat([Buffer.from([0, 0, 0, message.length >> 8, message.length & 255]), message]);
  const total = 8000;
  let taken = 0;
  const sendOne = () => {
    taken += 1;
    if (taken < total) stream.write(frame, (error) => error ?? sendOne());
  };
  sendOne();
  let before = -1;
  await eventually(async () => {
    const isStill = taken === before;
    before = taken;
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(isStill).toBe(true);
  });
  expect(taken).toBeGreaterThan(1);
  expect(taken).toBeLessThan(total / 2);
  session.destroy();
});

test("without Redis calls are UNAVAILABLE at once, verification too, and a malformed token is still told", async () => {
  await service.tokens.createToken({ name: "my_token" });
  const { token } = await service.tokens.renewToken({ name: "my_token" });
  await service.redis.shutDown();
  const unavailable = {
    code: "UNAVAILABLE",
    reason: "STORE_UNAVAILABLE",
    sqlState: "57015",
    message: "the token store is unavailable; nothing was changed",
    detailTypes: ["ErrorInfo", "RetryInfo"],
  };
  const startMs = performance.now();
  await expect(service.tokens.getToken({ name: "my_token" })).rejects.toMatchObject(unavailable);
  await expect(service.tokens.listTokens({})).rejects.toMatchObject(unavailable);
  await expect(service.tokens.createToken({ name: "new" })).rejects.toMatchObject(unavailable);
  await expect(service.verification.verifyToken({ token })).rejects.toMatchObject(unavailable);
  expect(performance.now() - startMs).toBeLessThan(600);
  expect(await service.verification.verifyToken({ token: "x" })).toMatchObject({ active: false });
});

test.each(["Check", "Watch"])("a %s that never sends its message is ended by the deadline cap", async (method) => {
  const guard = new CallGuard({
    maxMessageBytes: 1000,
    callTimeoutMs: 100,
    maxOpenCalls: 10,
    countRefused: () => {},
    observeCall: () => {},
    log: pino({ level: "silent" }),
  });
  const server = new Server({ interceptors: [guard.interceptor] });
  onHttp2Server(server, () => {}, { serveUnary: guard.serveUnary, maxMetadataBytes: 1000 });
  server.addService(HealthService, new Health([]).handlers);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  const stream = session.request(
    {
      [constants.HTTP2_HEADER_METHOD]: "POST",
      [constants.HTTP2_HEADER_PATH]: `/grpc.health.v1.Health/${method}`,
      [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc",
    },
    { endStream: false },
  );
  const status = await new Promise((resolve) => stream.on("response", (headers) => resolve(headers["grpc-status"])));
  expect(status).toBe("4");
  await eventually(() => expect(guard.openUnary).toBe(0));
  session.destroy();
  server.forceShutdown();
});

test("a client that compresses in an unknown way is told the known ones", async () => {
  const session = connectHttp2(`http://${service.address}`);
  const stream = session.request({
    [constants.HTTP2_HEADER_METHOD]: "POST",
    [constants.HTTP2_HEADER_PATH]: "/grpc.health.v1.Health/Check",
    [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc",
    "grpc-encoding": "snappy",
  });
  stream.end(Buffer.from([1, 0, 0, 0, 0]));
  const headers = await new Promise((resolve) => stream.on("response", resolve));
  expect(headers).toMatchObject({ "grpc-status": "12", "grpc-accept-encoding": "identity,gzip,deflate" });
  session.destroy();
});

test.each([
  ["an answer", Buffer.alloc(5)],
  ["a refusal", Buffer.from([0, 0, 0, 0, 9])],
])("%s has no date", async (_, body) => {
  const session = connectHttp2(`http://${service.address}`);
  const stream = session.request({
    [constants.HTTP2_HEADER_METHOD]: "POST",
    [constants.HTTP2_HEADER_PATH]: "/grpc.health.v1.Health/Check",
    [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc",
  });
  stream.end(body);
  const headers = await new Promise<IncomingHttpHeaders>((resolve) => stream.on("response", resolve));
  expect(headers[":status"]).toBe(200);
  expect(headers.date).toBeUndefined();
  session.destroy();
});

test("a doubled identity is UNAUTHENTICATED", async () => {
  const metadata = new Metadata();
  metadata.add("x-user-id", "alice");
  metadata.add("x-user-id", "bob");
  const client = new HealthClient(service.address, credentials.createInsecure());
  const answer = new Promise((resolve) => {
    client.makeUnaryRequest(
      "/apitoken.v1.ApiTokenService/ListTokens",
      (empty: Buffer) => empty,
      (bytes) => bytes,
      Buffer.alloc(0),
      metadata,
      (error) => resolve(error?.code),
    );
  });
  expect(await answer).toBe(16);
  client.close();
});
