// Everything that can be done to a server with a secret in hand: each RPC, each refusal, each way to present a credential.
import { Client } from "@grpc/grpc-js";
import { TokenEventKind } from "../../gen/apitoken/v1/api_token.js";
import { type RenewTokenRequest, ApiTokenServiceService as Tokens } from "../../gen/apitoken/v1/api_token_service.js";
import { TokenVerificationServiceService as Verification } from "../../gen/apitoken/v1/token_verification_service.js";
import { HealthService as Health } from "../../gen/grpc/health/v1/health.js";
import { ServerReflectionService as Reflection } from "../../gen/grpc/reflection/v1/reflection.js";
import { ServerReflectionService as ReflectionV1Alpha } from "../../gen/grpc/reflection/v1alpha/reflection.js";
import { formatToken, generateSecret, generateUid } from "../../src/domain/token-string.js";
import { message } from "../bad-input/grpc.js";
import type { Certificate } from "../certificates.js";
import { eventually } from "../harness.js";
import { HOSTILE_TOKENS } from "../issuer.js";
import type { SecureService } from "../secure-service.js";
import type { Caller, Calls } from "./calls.js";
import type { WatchedRedis } from "./redis.js";
import type { Secrets } from "./secrets.js";

/** What the scenario plays with. */
export interface Stage {
  readonly calls: Calls;
  readonly secrets: Secrets;
  readonly redis: WatchedRedis;
  readonly service: SecureService;
  /** Of a service that may verify, and of one that may act for users. */
  readonly gateway: Certificate;
  readonly portal: Certificate;
  /** Callers whose connections are closed at the end. */
  readonly clients: Client[];
}

const HOUR = { seconds: 3600n, nanos: 0 };

export function bearer(stage: Stage, credential: string, address = stage.service.bearerAddress): Caller {
  const { client } = connect(stage, address);
  return { client, metadata: { authorization: `Bearer ${credential}` } };
}

function connect({ service, clients }: Stage, address: string, certificate?: Certificate): Caller {
  const client = new Client(address, service.channelCredentials(certificate));
  clients.push(client);
  return { client };
}

/** A good JWT with secrets in its claims. */
export async function signIn(stage: Stage, sub: string, claims: Record<string, unknown> = {}): Promise<Caller> {
  const { service, secrets } = stage;
  const jwt = await service.issuer.sign({
    sub,
    email: secrets.text(`${sub}: email`),
    jti: secrets.text(`${sub}: jti`),
    ...claims,
  });
  return bearer(stage, secrets.markJwt(`JWT of ${sub}`, jwt));
}

export type Cast = Awaited<ReturnType<typeof lifecycle>>;

/** Tokens from their creation to their end. */
export async function lifecycle(stage: Stage) {
  const { calls, secrets } = stage;
  const alice = await signIn(stage, "alice");
  const admin = await signIn(stage, "admin", { roles: ["organization-administrator"] });
  const gateway = connect(stage, stage.service.mtlsAddress, stage.gateway);
  const verify = (token: string) => calls.unary(gateway, Verification.verifyToken, { token });
  const create = async (name: string, requestId = "") => {
    const { token } = await calls.unary(alice, Tokens.createToken, { name, requestId });
    return secrets.markToken(`token ${name}`, token);
  };
  const renew = async (name: string, fields: Partial<RenewTokenRequest> = {}) => {
    const { token } = await calls.unary(alice, Tokens.renewToken, { name, ...fields });
    return secrets.markToken(`token ${name}, renewed`, token);
  };

  const createId = secrets.requestId("request_id of a creation");
  const first = await create("main", createId);
  await create("main", createId);
  await verify(first);
  await calls.refusal(alice, Tokens.createToken, { name: "main", requestId: createId, role: "developer" });
  await calls.refusal(alice, Tokens.createToken, { name: "main" });
  await eventually(async () => {
    const { apiToken } = await calls.unary(alice, Tokens.getToken, { name: "main" });
    if (apiToken?.lastUsedTime === undefined) throw new Error("not noted yet");
  });
  // The secret is in use, as of now.
  await calls.refusal(alice, Tokens.createToken, { name: "main", requestId: createId });

  const renewId = secrets.requestId("request_id of a renewal");
  const second = await renew("main", { gracePeriod: HOUR, requestId: renewId });
  await renew("main", { gracePeriod: HOUR, requestId: renewId });
  for (const token of [first, second]) await verify(token);
  await calls.unary(bearer(stage, first), Tokens.getToken, { name: "main" });
  const third = await renew("main");
  for (const token of [first, second, third]) await verify(token);
  await calls.unary(gateway, Verification.verifyTokens, { tokens: [first, third] });

  // A superseded secret as the credential of a call; each token leaves one event a minute.
  const stale = await create("stale");
  const fresh = await renew("stale");
  await calls.refusal(bearer(stage, stale), Tokens.getToken, { name: "stale" });
  await calls.unary(bearer(stage, fresh), Tokens.renewToken, { name: "stale" }).then(({ token }) => {
    secrets.markToken("token stale, renewed by itself", token);
  });
  await eventually(async () => {
    const { events } = await calls.unary(admin, Tokens.listTokenEvents, { userId: "-", pageSize: 1000 });
    const superseded = events.filter(({ kind }) => kind === TokenEventKind.TOKEN_EVENT_KIND_SUPERSEDED_USE);
    if (superseded.length < 2) throw new Error("the superseded uses have left no events yet");
  });

  const portal = connect(stage, stage.service.mtlsAddress, stage.portal);
  const forCarol = { client: portal.client, metadata: { "x-organization-id": "acme", "x-user-id": "carol" } };
  const { token } = await calls.unary(forCarol, Tokens.createToken, { name: "for-carol" });
  secrets.markToken("token of carol", token);
  await calls.unary(admin, Tokens.listTokens, { userId: "-", pageSize: 1 });
  await create("doomed");
  await calls.unary(alice, Tokens.revokeToken, { name: "doomed" });
  return { alice, admin, gateway, portal, current: third };
}

/** Requests that are refused for what they say. */
export async function badRequests(stage: Stage, { alice, gateway, portal, current }: Cast) {
  const { calls, secrets } = stage;
  const bad = secrets.text("text in a bad field");
  const requestId = secrets.requestId("request_id of a refused call");
  await calls.refusal(alice, Tokens.createToken, { name: `\n${current}`, role: `\n${bad}`, requestId: bad });
  await calls.refusal(alice, Tokens.createToken, { name: "x", role: "not-held", requestId });
  await calls.refusal(alice, Tokens.getToken, { name: "missing", userId: "" });
  await calls.refusal(alice, Tokens.renewToken, { name: "missing", requestId });
  await calls.refusal(alice, Tokens.renewToken, { name: "main", etag: "other", requestId });
  await calls.refusal(alice, Tokens.revokeToken, { name: "main", etag: `${bad}${bad}${bad}${bad}` });
  await calls.refusal(alice, Tokens.listTokens, { pageToken: current });
  await calls.refusal(alice, Tokens.listTokenEvents, { uid: current, pageToken: bad });
  await calls.refusal(alice, Verification.verifyToken, { token: current });
  await calls.refusal({ client: portal.client, metadata: {} }, Tokens.listTokens, {});
  for (let count = 0; count < 10; count += 1) {
    const name = `limit-${count}`;
    const created = await calls
      .unary(alice, Tokens.createToken, { name, requestId: secrets.requestId(name) })
      .catch(() => undefined);
    if (created !== undefined) secrets.markToken(`token ${name}`, created.token);
  }
  const uid = generateUid("acme");
  const wrong = formatToken("apt", current.slice(5, 33), secrets.mark("a wrong secret", generateSecret()));
  const unknown = formatToken("apt", uid, secrets.mark("a secret of no token", generateSecret()));
  const otherPrefix = secrets.markToken("a token of another prefix", formatToken("abc", uid, generateSecret()));
  const damaged = secrets.markToken(
    "a token with a wrong checksum",
    `${formatToken("apt", uid, generateSecret()).slice(0, -1)}!`,
  );
  const short = `apt_1${secrets.text("a token that is too short")}`;
  for (const token of [wrong, unknown, otherPrefix, damaged, short]) {
    await calls.unary(gateway, Verification.verifyToken, { token });
    await calls.refusal(bearer(stage, token), Tokens.listTokens, {});
  }
}

/** Credentials that let nobody in. */
export async function badCredentials(stage: Stage, { gateway, current }: Cast) {
  const { calls, secrets } = stage;
  const { issuer } = stage.service;
  for (const [title, make] of Object.entries(HOSTILE_TOKENS)) {
    const marker = () => ({ sub: secrets.text(`${title}: sub`), roles: [secrets.text(`${title}: role`)] });
    const hostile = {
      ...issuer,
      sign: (claims = {}, options = {}) => issuer.sign({ ...marker(), ...claims }, options),
    };
    const jwt = secrets.markJwt(title, await make(hostile));
    // The others cannot be sent.
    if (/^[ -~]*$/.test(jwt)) await calls.refusal(bearer(stage, jwt), Tokens.listTokens, {});
  }
  const anyone = bearer(stage, current);
  const named = (metadata: Record<string, string>) =>
    calls.refusal({ client: anyone.client, metadata }, Tokens.listTokens, {});
  const authorization = `Bearer ${current}`;
  await named({});
  await named({ authorization: `Basic ${secrets.text("a password")}` });
  await named({ authorization: `Bearer ${current} ${current}` });
  await named({ authorization, "x-user-id": secrets.text("x-user-id of a bearer") });
  await named({ authorization, "x-organization-id": secrets.text("x-organization-id of a bearer") });
  await named({ authorization, "x-organization-admin": secrets.text("x-organization-admin") });
  const asService = (metadata: Record<string, string>) =>
    calls.refusal({ client: gateway.client, metadata }, Tokens.listTokens, {});
  await asService({ authorization });
  await asService({ "x-user-id": secrets.text("x-user-id of half a user") });
  await asService({ "x-organization-id": "acme", "x-user-id": secrets.text("x-user-id without the grant") });
}

/** What no client library sends. */
export async function rawCalls(stage: Stage, { current }: Cast) {
  const { calls, secrets, service } = stage;
  const session = service.openSession();
  const path = Tokens.listTokens.path;
  const authorization = `Bearer ${current}`;
  const nonAscii = `Bearer ${secrets.text("a credential beside a byte that is not ASCII")}\xff`;
  await calls.raw(session, path, { authorization: nonAscii });
  await calls.raw(session, path, { authorization: `${authorization}\xff` });
  await calls.raw(session, `/${current}/${current}`, { authorization });
  await calls.raw(session, path, { authorization, "grpc-timeout": current });
  await calls.raw(session, path, { authorization, "grpc-encoding": current }, { body: message(Buffer.from(current)) });
  await calls.raw(session, path, { authorization, "content-type": current });
  await calls.raw(session, path, { authorization, "x-bin": current, "grpc-trace-bin": current });
  await calls.raw(session, path, { authorization, "x-padding": current.repeat(220) });
  for (const text of [`\x0a\xff${current}`, current.repeat(1000)]) {
    await calls.raw(session, path, { authorization }, { body: message(Buffer.from(text, "latin1")) });
  }
  await calls.raw(session, path, { authorization }, { body: Buffer.alloc(0), leaveOpen: true });
}

/** The services that ask for no credential. */
export async function healthAndReflection(stage: Stage, { current }: Cast) {
  const { calls } = stage;
  const anyone = bearer(stage, current);
  await calls.unary(anyone, Health.check, {});
  await calls.refusal(anyone, Health.check, { service: current });
  await calls.unary(anyone, Health.list, {});
  await calls.stream(anyone, Health.watch, [{ service: current }]);
  for (const { serverReflectionInfo } of [Reflection, ReflectionV1Alpha]) {
    await calls.stream(anyone, serverReflectionInfo, [
      { messageRequest: { $case: "listServices", value: "" } },
      { messageRequest: { $case: "fileContainingSymbol", value: "apitoken.v1.ApiTokenService" } },
      { messageRequest: { $case: "fileByFilename", value: "missing" } },
    ]);
  }
}
