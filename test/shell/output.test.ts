import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { describe, expect, test } from "@jest/globals";
import { type TokenEvent, TokenEventKind } from "../../gen/apitoken/v1/api_token.js";
import { ListTokenEventsResponse } from "../../gen/apitoken/v1/api_token_service.js";
import { formatError, formatResult } from "../../src/shell/output.js";
import { parseStatements } from "../../src/shell/parser.js";
import { RpcError } from "../../src/shell/rpc-error.js";

const CREATED: TokenEvent = {
  kind: TokenEventKind.TOKEN_EVENT_KIND_CREATED,
  eventTime: { seconds: 1_720_730_237n, nanos: 123_000_000 },
  uid: "LDfrXxYqqA0MN19JaCTWrAeEVr0y",
  organizationId: "acme",
  userId: "ada",
  name: "my_token",
  generation: 1n,
  actor: "user:ada",
};
const RENEWED: TokenEvent = {
  ...CREATED,
  kind: TokenEventKind.TOKEN_EVENT_KIND_RENEWED,
  eventTime: { seconds: 1_720_730_330n, nanos: 0 },
  generation: 2n,
  actor: "service:spiffe://acme.example/ns/billing/token-rotator",
};
const SUPERSEDED_USE: TokenEvent = {
  ...RENEWED,
  kind: TokenEventKind.TOKEN_EVENT_KIND_SUPERSEDED_USE,
  eventTime: { seconds: 1_720_730_400n, nanos: 0 },
  actor: "",
};
const REVOKED: TokenEvent = {
  ...RENEWED,
  kind: TokenEventKind.TOKEN_EVENT_KIND_REVOKED,
  eventTime: { seconds: 1_720_730_500n, nanos: 0 },
  actor: "token:LDfrXxYqqA0MN19JaCTWrAeEVr0y",
};
const LATER: TokenEvent = { ...CREATED, kind: 99 as TokenEventKind, eventTime: undefined };

describe("events", () => {
  test("are drawn one to a row, in the server's order, byte for byte", () => {
    expect(formatResult(received(REVOKED, SUPERSEDED_USE, RENEWED, CREATED), "table")).toBe(
      `\
+-------------------------------+----------------+----------+------------------------------+-------------+------------------------------------------+
|  Time                         |  Event         |  Name    |  Uid                         |  Generation |  Actor                                   |
+===============================+================+==========+==============================+=============+==========================================+
| 2024-07-11 20:41:40 +0000 UTC | revoked        | my_token | LDfrXxYqqA0MN19JaCTWrAeEVr0y | 2           | token:LDfrXxYqqA0MN19JaCTWrAeEVr0y       |
| 2024-07-11 20:40:00 +0000 UTC | superseded_use | my_token | LDfrXxYqqA0MN19JaCTWrAeEVr0y | 2           | <null>                                   |
| 2024-07-11 20:38:50 +0000 UTC | renewed        | my_token | LDfrXxYqqA0MN19JaCTWrAeEVr0y | 2           | service:spiffe://acme.example/ns/billing |
|                               |                |          |                              |             | /token-rotator                           |
| 2024-07-11 20:37:17 +0000 UTC | created        | my_token | LDfrXxYqqA0MN19JaCTWrAeEVr0y | 1           | user:ada                                 |
+-------------------------------+----------------+----------+------------------------------+-------------+------------------------------------------+
`,
    );
  });

  test("of a kind that a later server sends are shown as unknown, and an unset time as null", () => {
    expect(formatResult(received(LATER), "table")).toContain("\n| <null> | unknown | my_token | ");
    expect(JSON.parse(formatResult(received(LATER), "json"))).toMatchObject({
      events: [{ kind: "UNRECOGNIZED", event_time: null }],
    });
  });

  test("are in JSON with every field, times to the millisecond", () => {
    const rest = '"uid":"LDfrXxYqqA0MN19JaCTWrAeEVr0y","organization_id":"acme","user_id":"ada","name":"my_token"';
    expect(formatResult(received(SUPERSEDED_USE, CREATED), "json")).toBe(
      `{"events":[${[
        `{"kind":"TOKEN_EVENT_KIND_SUPERSEDED_USE","event_time":"2024-07-11T20:40:00.000Z",${rest},"generation":2,"actor":""}`,
        `{"kind":"TOKEN_EVENT_KIND_CREATED","event_time":"2024-07-11T20:37:17.123Z",${rest},"generation":1,"actor":"user:ada"}`,
      ].join()}]}\n`,
    );
  });
});

describe("a call that broke off may have taken effect", () => {
  test.each(["CREATE API_TOKEN x", "ALTER API_TOKEN x RENEW TOKEN", "DROP API_TOKEN x"])("%s says so", (text) => {
    expect(errorOf(text)).toBe(
      "ERROR 08006: cannot reach the server at h:1\n  Connection dropped\n  the statement may have taken effect\n",
    );
  });

  test.each(["LIST API_TOKENS", "LIST API_TOKEN_EVENTS", "LIST API_TOKEN_EVENTS FOR x", "DESCRIBE API_TOKEN x"])(
    "%s changes nothing and does not say so",
    (text) => {
      expect(errorOf(text)).toBe("ERROR 08006: cannot reach the server at h:1\n  Connection dropped\n");
    },
  );
});

/** The events as they come out of a response. */
function received(...events: readonly TokenEvent[]) {
  const bytes = ListTokenEventsResponse.encode({ events: [...events], nextPageToken: "" }).finish();
  return { kind: "events" as const, events: ListTokenEventsResponse.decode(bytes).events };
}

/** What is shown when the connection broke while the statement was carried out. */
function errorOf(text: string): string {
  const broken: ServiceError = Object.assign(new Error("UNAVAILABLE"), {
    code: status.UNAVAILABLE,
    details: "Connection dropped",
    metadata: new Metadata(),
  });
  return formatError(new RpcError(broken, undefined), parseStatements(text)[0], "h:1");
}
