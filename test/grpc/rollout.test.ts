// What replacing servers one by one relies on: probes that need no TLS, and connections that move on without a failed call.
import { connect as connectHttp2 } from "node:http2";
import { credentials, status as Status } from "@grpc/grpc-js";
import { afterEach, expect, test } from "@jest/globals";
import { HealthClient, HealthCheckResponse_ServingStatus as ServingStatus } from "../../gen/grpc/health/v1/health.js";
import { ServerReflectionClient } from "../../gen/grpc/reflection/v1/reflection.js";
import { eventually, rpcs, type Service, startService } from "../harness.js";
import { clients } from "../server-process.js";

let service: Service;
afterEach(() => service.stop());

test("the address for health answers health alone, and liveness whatever the store does", async () => {
  service = await startService({ HEALTH_ADDRESS: "127.0.0.1:0" });
  const address = service.healthAddress ?? "";
  const client = new HealthClient(address, credentials.createInsecure());
  const health = rpcs(client);
  expect(await health.check({ service: "" })).toEqual({ status: ServingStatus.SERVING });
  service.health.setServing(false);
  expect(await health.check({ service: "" })).toEqual({ status: ServingStatus.NOT_SERVING });
  expect(await health.check({ service: "liveness" })).toEqual({ status: ServingStatus.SERVING });
  client.close();

  const others = clients(address);
  await expect(others.tokens.listTokens({})).rejects.toMatchObject({ code: "UNIMPLEMENTED" });
  await expect(others.verification.verifyToken({ token: "x" })).rejects.toMatchObject({ code: "UNIMPLEMENTED" });
  others.close();
  const reflection = new ServerReflectionClient(address, credentials.createInsecure());
  const refused = new Promise((resolve) => reflection.serverReflectionInfo().on("error", resolve));
  expect(await refused).toMatchObject({ code: Status.UNIMPLEMENTED });
  reflection.close();
});

test("while a server drains its address for health says that it is not serving, and ends with it", async () => {
  service = await startService({ HEALTH_ADDRESS: "127.0.0.1:0" });
  const client = new HealthClient(service.healthAddress ?? "", credentials.createInsecure());
  const health = rpcs(client);
  await health.check({});
  await service.redis.client.client("PAUSE", 300, "WRITE");
  const answer = service.tokens.createToken({ name: "my_token" });
  await eventually(async () => expect(await service.redis.client.client("LIST")).toContain("cmd=eval"));
  const drained = service.drain();
  expect(await health.check({ service: "" })).toEqual({ status: ServingStatus.NOT_SERVING });
  expect((await answer).apiToken?.name).toBe("my_token");
  await drained;
  await eventually(() => expect(health.check({})).rejects.toMatchObject({ code: "UNAVAILABLE" }));
  client.close();
});

test("a client is asked for a new connection after MAX_CONNECTION_AGE, and no call fails", async () => {
  service = await startService({ MAX_CONNECTION_AGE: "1s", CALL_RATES: "GetToken=100000" });
  await service.tokens.createToken({ name: "my_token" });
  const session = connectHttp2(`http://${service.address}`);
  const goneAway = new Promise((resolve) => session.once("goaway", resolve));
  const endMs = performance.now() + 3500;
  const callOn = async () => {
    while (performance.now() < endMs) await service.tokens.getToken({ name: "my_token" });
  };
  await Promise.all(Array.from({ length: 20 }, callOn));
  expect(await goneAway).toBe(0);
  session.destroy();
});
