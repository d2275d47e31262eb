// The client against a server of this test's own, whose pages are as awkward as the contract allows.
import {
  credentials,
  type handleUnaryCall,
  Server,
  ServerCredentials,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { afterEach, expect, test } from "@jest/globals";
import {
  ApiTokenServiceService,
  type ListTokenEventsRequest,
  ListTokenEventsResponse,
} from "../../gen/apitoken/v1/api_token_service.js";
import { ApiTokenClient } from "../../src/shell/client.js";
import { startService } from "../harness.js";

/** By page token. */
const PAGES = new Map([
  ["", ListTokenEventsResponse.fromPartial({ events: [{ uid: "a" }, { uid: "b" }], nextPageToken: "2" })],
  ["2", ListTokenEventsResponse.fromPartial({ events: [], nextPageToken: "3" })],
  ["3", ListTokenEventsResponse.fromPartial({ events: [{ uid: "c" }], nextPageToken: "4" })],
  ["4", ListTokenEventsResponse.fromPartial({ events: [], nextPageToken: "" })],
]);

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

test("all pages of events are fetched, also those behind an empty one", async () => {
  const { client, requests } = await connect();
  const events = await client.listTokenEvents(undefined);
  expect(events.map(({ uid }) => uid)).toEqual(["a", "b", "c"]);
  expect(requests).toEqual(
    [...PAGES.keys()].map((pageToken) => ({ name: "", uid: "", pageSize: 1000, pageToken, userId: "" })),
  );
});

test("every page of one name's events is asked for with that name", async () => {
  const { client, requests } = await connect();
  await client.listTokenEvents("My Token");
  expect(requests.map(({ name }) => name)).toEqual([...PAGES.keys()].map(() => "My Token"));
});

test("a call that is refused for its rate is repeated when the server says so", async () => {
  const service = await startService({ CALL_RATES: "GetToken=2" });
  stops.push(() => service.stop());
  await service.tokens.createToken({ name: "my_token" });
  const client = clientOf(Number(service.address.split(":").at(-1)));
  for (let i = 0; i < 10; i += 1) await client.getToken("my_token");
  const startMs = performance.now();
  expect((await client.getToken("my_token"))?.name).toBe("my_token");
  expect(performance.now() - startMs).toBeGreaterThan(300);
  client.close();
});

test("names to help with typing come at once or not at all", async () => {
  const service = await startService();
  stops.push(() => service.stop());
  const port = Number(service.address.split(":").at(-1));
  for (const name of ["b", "a"]) await service.tokens.createToken({ name });
  const client = clientOf(port);
  stops.push(() => client.close());
  expect(await client.tokenNames()).toEqual(["a", "b"]);

  const nobody = clientOf(1);
  const stalled = clientOf(await serve({ listTokens: () => {} }));
  stops.push(() => [nobody.close(), stalled.close()]);
  const startMs = performance.now();
  expect(await Promise.all([nobody.tokenNames(), stalled.tokenNames()])).toEqual([[], []]);
  expect(performance.now() - startMs).toBeLessThan(2000);
});

/** A client of a server that has the pages, and what it asks for. */
async function connect(): Promise<{ client: ApiTokenClient; requests: readonly ListTokenEventsRequest[] }> {
  const requests: ListTokenEventsRequest[] = [];
  const listTokenEvents: handleUnaryCall<ListTokenEventsRequest, ListTokenEventsResponse> = ({ request }, answer) => {
    requests.push(request);
    answer(null, PAGES.get(request.pageToken));
  };
  const client = clientOf(await serve({ listTokenEvents }));
  stops.push(() => client.close());
  return { client, requests };
}

/** The port of a server that has these methods. */
async function serve(methods: UntypedServiceImplementation): Promise<number> {
  const server = new Server();
  stops.push(() => server.forceShutdown());
  server.addService(ApiTokenServiceService, methods);
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
}

function clientOf(port: number): ApiTokenClient {
  return new ApiTokenClient({
    host: "127.0.0.1",
    port,
    credentials: credentials.createInsecure(),
    isEncrypted: false,
    token: undefined,
  });
}
