// Limits: who asks for too much is refused at once, before Redis is asked, and nobody else feels it.
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect as connectSocket } from "node:net";
import { afterEach, expect, test } from "@jest/globals";
import fc from "fast-check";
import { type Principal, servicePrincipal, tokenPrincipal, userPrincipal } from "../../src/domain/access.js";
import { ApiTokenError } from "../../src/domain/errors.js";
import { Admission, DEFAULT_CALL_RATES } from "../../src/grpc/admission.js";
import { RateLimiter } from "../../src/grpc/rate-limiter.js";
import { eventually, type RpcError, type Service, startService } from "../harness.js";

let service: Service | undefined;
afterEach(async () => {
  await service?.stop();
  service = undefined;
});

const RATE_LIMITED = {
  code: "RESOURCE_EXHAUSTED",
  reason: "RATE_LIMITED",
  sqlState: "53000",
  message: "too many calls in a short time",
  detailTypes: ["ErrorInfo", "RetryInfo"],
};
const OVERLOADED = { ...RATE_LIMITED, reason: "OVERLOADED", message: "too many calls at once" };

/** Commands that Redis has run, apart from this question and the watch's. */
async function commandsOf({ redis }: Service): Promise<number> {
  const stats = await redis.client.info("commandstats");
  const counts = [...stats.matchAll(/^cmdstat_(evalsha|eval|hmget):calls=(\d+)/gm)].map(([, , calls]) => Number(calls));
  return counts.reduce((sum, calls) => sum + calls, 0);
}

test("a caller beyond its rate is refused without a Redis command, with the time to wait, and alone", async () => {
  service = await startService({ CALL_RATES: "GetToken=2" });
  const { tokens } = service;
  await tokens.createToken({ name: "a" });
  for (let i = 0; i < 10; i += 1) await tokens.getToken({ name: "a" });
  const before = await commandsOf(service);
  for (let i = 0; i < 20; i += 1) await expect(tokens.getToken({ name: "a" })).rejects.toMatchObject(RATE_LIMITED);
  expect(await commandsOf(service)).toBe(before);
  await expect(tokens.getToken({ name: "a" }, { user: "bob" })).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(tokens.getToken({ name: "a" }, { organization: "other" })).rejects.toMatchObject({ code: "NOT_FOUND" });
  await tokens.listTokens({});
  await eventually(async () => expect((await tokens.getToken({ name: "a" })).apiToken?.name).toBe("a"));
});

test("a list of a thousand counts for twenty of fifty, and what is left is made up for", async () => {
  service = await startService({ CALL_RATES: "ListTokens=4" });
  const { tokens } = service;
  await tokens.listTokens({ pageSize: 1000 });
  await expect(tokens.listTokens({})).rejects.toMatchObject(RATE_LIMITED);
  await eventually(() => tokens.listTokens({}));
  const expireBefore = { seconds: 0n, nanos: 0 };
  for (let call = 0; call < 5; call += 1) await tokens.listTokens({ expireBefore }, { user: "bob" });
  await expect(tokens.listTokens({}, { user: "bob" })).rejects.toMatchObject(RATE_LIMITED);
});

test("an address that presents too many bad credentials is refused others, and calls without them go on", async () => {
  service = await startService({ FAILED_CREDENTIAL_RATE: "1" }, async ({ authorization }) => {
    if (authorization !== undefined) throw new ApiTokenError("UNAUTHENTICATED");
    return userPrincipal({ organizationId: "acme", userId: "alice" }, { isAdministrator: false, roles: "all" });
  });
  const { tokens } = service;
  const bad = { authorization: "Bearer x" };
  for (let i = 0; i < 5; i += 1) {
    await expect(tokens.listTokens({}, bad)).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  }
  await expect(tokens.listTokens({}, bad)).rejects.toMatchObject(RATE_LIMITED);
  await tokens.listTokens({});
});

test("a flood by one caller leaves another's calls alone, and its refusals come about as soon as answers", async () => {
  service = await startService({ CALL_RATES: "GetToken=10" });
  const { tokens, verification } = service;
  await tokens.createToken({ name: "a" });
  /** How long a call of the flood takes, in milliseconds, while somebody else makes a hundred. */
  const medianOf = async (call: () => Promise<unknown>) => {
    const tookMs: number[] = [];
    let isOn = true;
    const flooder = async () => {
      while (isOn) {
        const startMs = performance.now();
        await call();
        tookMs.push(performance.now() - startMs);
      }
    };
    const flooders = Array.from({ length: 20 }, flooder);
    for (let i = 0; i < 100; i += 1) await tokens.listTokens({}, { user: "bob" });
    isOn = false;
    await Promise.all(flooders);
    expect(tookMs.length).toBeGreaterThan(100);
    return tookMs.sort((a, b) => a - b)[Math.floor(tookMs.length / 2)] ?? 0;
  };
  const answerMs = await medianOf(() => verification.verifyToken({ token: "none" }));
  const refusals: unknown[] = [];
  const refusalMs = await medianOf(() => tokens.getToken({ name: "a" }).catch((error) => refusals.push(error)));
  expect(refusals.length).toBeGreaterThan(100);
  expect(refusalMs / answerMs).toBeLessThan(3);
});

test("the users of one service leave half of the room to others", async () => {
  service = await startService({ MAX_CONCURRENT_CALLS: "8" }, async (headers) => {
    const user = String(headers["x-user-id"]);
    const owner = { organizationId: "acme", userId: user };
    if (user === "alice") return userPrincipal(owner, { isAdministrator: false, roles: "all" });
    return servicePrincipal("spiffe://example.org/portal", new Set(["act-for-users"]), owner);
  });
  const { tokens, redis } = service;
  await redis.client.client("PAUSE", 300, "ALL");
  const users = [...Array.from({ length: 7 }, (_, i) => `user-${i}`), "alice"];
  const answers = await Promise.all(
    users.map((user) =>
      tokens.listTokens({}, { user }).then(
        () => "OK",
        (error: RpcError) => error.reason,
      ),
    ),
  );
  expect(answers).toEqual(["OK", "OK", "OK", "OK", "OVERLOADED", "OVERLOADED", "OVERLOADED", "OK"]);
});

test("streams of one address leave room for others", async () => {
  service = await startService({ MAX_CONCURRENT_CALLS: "4" });
  const session = connectHttp2(`http://${service.address}`);
  const statuses: (string | undefined)[] = [];
  for (let i = 0; i < 6; i += 1) openCall(session, (status) => statuses.push(status), "/grpc.health.v1.Health/Watch");
  await eventually(() => expect(statuses).toEqual(["8", "8"]));
  await service.tokens.listTokens({});
  session.destroy();
});

test("handlers that run are counted in all and for each caller, and beyond it calls are shed at once", async () => {
  service = await startService({ MAX_CONCURRENT_CALLS: "6", MAX_CONCURRENT_CALLS_PER_CALLER: "4" });
  const { tokens, redis } = service;
  await redis.client.client("PAUSE", 400, "ALL");
  let answered = 0;
  const attempt = (user: string) =>
    tokens.getToken({ name: "none" }, { user }).catch((error: RpcError) => {
      if (error.code !== "NOT_FOUND") return `${error.reason} ${answered === 0 ? "at once" : "late"}`;
      answered += 1;
      return "OK";
    });
  const answers = await Promise.all([..."aaaaaabbb"].map(attempt));
  expect(answers).toEqual([
    ...["OK", "OK", "OK", "OK", "OVERLOADED at once", "OVERLOADED at once"],
    ...["OK", "OK", "OVERLOADED at once"],
  ]);
  await expect(Promise.all([..."aaaa"].map(attempt))).resolves.toEqual(["OK", "OK", "OK", "OK"]);
});

test("of lists, which take long, a caller runs two at a time, and all callers sixteen", async () => {
  service = await startService();
  const { tokens, redis } = service;
  await redis.client.client("PAUSE", 300, "ALL");
  const users = [...Array(3).fill("alice"), ...Array.from({ length: 15 }, (_, i) => `user-${i}`)];
  const attempts = users.map((user, i) =>
    i % 2 === 0 ? tokens.listTokens({}, { user }) : tokens.listTokenEvents({}, { user }),
  );
  const answers = await Promise.all(
    attempts.map((attempt) =>
      attempt.then(
        () => "OK",
        (error: RpcError) => error.reason,
      ),
    ),
  );
  expect(answers).toEqual(["OK", "OK", "OVERLOADED", ...Array(14).fill("OK"), "OVERLOADED"]);
  await tokens.listTokens({}, { user: "alice" });
});

test("an overloaded refusal says when to come again", async () => {
  service = await startService({ MAX_CONCURRENT_CALLS: "1" });
  const { tokens, redis } = service;
  await redis.client.client("PAUSE", 200, "ALL");
  const first = tokens.listTokens({});
  await expect(tokens.listTokens({})).rejects.toMatchObject(OVERLOADED);
  await first;
});

test("a peer that presents too many dead tokens has to wait; what is no token at all is not counted", async () => {
  service = await startService({ FAILED_VERIFICATION_RATE: "1" });
  const { tokens, verification } = service;
  const dead = await tokens.createToken({ name: "a" });
  await tokens.revokeToken({ name: "a" });
  for (let i = 0; i < 20; i += 1) await verification.verifyToken({ token: "no token" });
  for (let i = 0; i < 5; i += 1) expect(await verification.verifyToken(dead)).toMatchObject({ active: false });
  const before = await commandsOf(service);
  await expect(verification.verifyToken(dead)).rejects.toMatchObject(RATE_LIMITED);
  expect(await commandsOf(service)).toBe(before);
});

test("metadata and messages beyond their limits are refused", async () => {
  service = await startService({ MAX_MESSAGE_BYTES: "4096", MAX_METADATA_BYTES: "1024" });
  const tooLarge = { code: "RESOURCE_EXHAUSTED", reason: "REQUEST_TOO_LARGE", detailTypes: ["ErrorInfo"] };
  await expect(service.tokens.listTokens({}, { user: "u".repeat(1100) })).rejects.toMatchObject(tooLarge);
  await expect(service.tokens.getToken({ name: "a".repeat(5000) })).rejects.toMatchObject(tooLarge);
});

test("half-sent calls of one address are shed beyond its limit, end by the timeout, and leave room again", async () => {
  service = await startService({ MAX_CONCURRENT_CALLS: "5", CALL_TIMEOUT: "1s" });
  const session = connectHttp2(`http://${service.address}`);
  const statuses: (string | undefined)[] = [];
  for (let i = 0; i < 30; i += 1) openCall(session, (status) => statuses.push(status));
  await eventually(() => expect(statuses.filter((status) => status === "8")).toHaveLength(10));
  await eventually(() => expect(statuses.filter((status) => status === "4")).toHaveLength(20));
  await service.tokens.listTokens({});
  session.destroy();
});

test("connections beyond the limit of one address are closed, and there is room again when others end", async () => {
  service = await startService({ MAX_CONNECTIONS_PER_PEER: "4" });
  const port = Number(service.address.split(":").at(-1));
  // The service's own client has one connection.
  await service.tokens.listTokens({});
  const dial = () => {
    const socket = connectSocket(port, "127.0.0.1").on("error", () => {});
    const isClosed = new Promise<boolean>((resolve) => socket.once("close", () => resolve(true)));
    socket.resume();
    return { socket, isClosed };
  };
  const first = [dial(), dial(), dial()];
  await Promise.all(first.map(({ socket }) => new Promise((resolve) => socket.once("connect", resolve))));
  expect(await dial().isClosed).toBe(true);
  for (const { socket } of first) expect(socket.destroyed).toBe(false);
  await service.tokens.listTokens({});
  for (const { socket } of first) socket.destroy();
  await eventually(async () => {
    const { socket, isClosed } = dial();
    const answer = await Promise.race([isClosed, new Promise((resolve) => socket.once("data", () => resolve(false)))]);
    socket.destroy();
    expect(answer).toBe(false);
  });
});

function openCall(
  session: ClientHttp2Session,
  onStatus: (status: string | undefined) => void,
  path = "/apitoken.v1.ApiTokenService/ListTokens",
): void {
  session
    .request(
      { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" },
      { endStream: false },
    )
    .on("response", (headers) => onStatus(headers["grpc-status"]?.toString()))
    .on("error", () => {})
    .resume();
}

test("a credential whose caller is refused is refused before it is looked up again", () => {
  const admission = new Admission({
    maxConcurrentCalls: 10,
    maxConcurrentCallsPerCaller: 10,
    callRates: { ...DEFAULT_CALL_RATES, GetToken: 1 },
    failedCredentialRate: 1,
    failedVerificationRate: 1,
  });
  const arrival = { rpc: "GetToken", weight: 1, peer: "::1", credential: "Bearer x" } as const;
  const alice = userPrincipal({ organizationId: "acme", userId: "alice" }, { isAdministrator: false, roles: "all" });
  for (let i = 0; i < 5; i += 1) {
    const visit = admission.enter(arrival);
    visit.admit(alice);
    visit.leave();
  }
  const visit = admission.enter(arrival);
  expect(() => visit.admit(alice)).toThrow(ApiTokenError);
  visit.leave();
  expect(() => admission.enter(arrival)).toThrow("too many calls in a short time");
  admission.enter({ ...arrival, credential: "Bearer y" }).leave();
  admission.enter({ ...arrival, rpc: "ListTokens" }).leave();
});

test("a user's tokens have one budget together, and leave the user's own alone", () => {
  const admission = new Admission({
    maxConcurrentCalls: 10,
    maxConcurrentCallsPerCaller: 10,
    callRates: { ...DEFAULT_CALL_RATES, GetToken: 1 },
    failedCredentialRate: 1,
    failedVerificationRate: 1,
  });
  const owner = { organizationId: "acme", userId: "alice" };
  const call = (credential: string, caller: Principal) => {
    const visit = admission.enter({ rpc: "GetToken", weight: 1, peer: "::1", credential });
    try {
      visit.admit(caller);
    } finally {
      visit.leave();
    }
  };
  const token = (uid: string) => {
    const times = { createTimeMs: 0, ttlMs: 60_000, lastUsedTimeMs: undefined, previousSecretExpireTimeMs: undefined };
    return tokenPrincipal({ ...owner, ...times, uid, name: uid, role: "", generation: 1 }, "current", "self");
  };
  for (let i = 0; i < 5; i += 1) call(`token ${i}`, token(`t${i}`));
  expect(() => call("token 6", token("t6"))).toThrow("too many calls in a short time");
  call("jwt", userPrincipal(owner, { isAdministrator: false, roles: "all" }));
});

test("whatever the times, a key takes no more than its rate and five seconds' worth, and what it may take it gets", () => {
  const rates = fc.integer({ min: 1, max: 1000 });
  fc.assert(
    fc.property(rates, fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 300 }), (perSecond, gaps) => {
      const limiter = new RateLimiter(perSecond);
      let nowMs = 1000;
      let taken = 0;
      for (const gap of gaps) {
        nowMs += gap;
        const waitMs = limiter.waitMs("key", nowMs);
        if (waitMs > 0) {
          expect(limiter.waitMs("key", nowMs + waitMs + 0.001)).toBe(0);
          continue;
        }
        limiter.take("key", nowMs);
        taken += 1;
      }
      expect(taken).toBeLessThanOrEqual(perSecond * (5 + (nowMs - 1000) / 1000) + 1);
      expect(limiter.waitMs("another", nowMs)).toBe(0);
    }),
  );
});
