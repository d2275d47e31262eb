// What the tests stand on: a real Redis, a real server and a real client, each started by the test that needs it.
import { mkdtemp, rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { credentials, Metadata, ServerCredentials, type ServiceError, status as Status } from "@grpc/grpc-js";
import { Redis } from "ioredis";
import { pino } from "pino";
import { ApiTokenServiceClient } from "../gen/apitoken/v1/api_token_service.js";
import { TokenVerificationServiceClient } from "../gen/apitoken/v1/token_verification_service.js";
import { BadRequest, ErrorInfo } from "../gen/google/rpc/error_details.js";
import { Status as RpcStatus } from "../gen/google/rpc/status.js";
import { developmentPrincipal } from "../src/auth/development.js";
import { readConfig } from "../src/config.js";
import { TokenService } from "../src/domain/token-service.js";
import { TokenVerifier } from "../src/domain/token-verifier.js";
import { Admission } from "../src/grpc/admission.js";
import type { Pipeline } from "../src/grpc/call.js";
import { type GrpcServer, startGrpcServer } from "../src/grpc/server.js";
import { RedisConnection } from "../src/redis/connection.js";
import { type PrivateRedis, startPrivateRedis } from "../src/redis/private/private-redis.js";
import { findRedisServer } from "../src/redis/private/redis-server.js";
import { type RedisAddress, readRedisUrl } from "../src/redis/redis-address.js";
import { RedisTokenStore } from "../src/redis/redis-token-store.js";

/** The redis-server that `apitokend` would use on this machine; fetched when there is none. */
export function redisServer() {
  return findRedisServer({
    explicitPath: process.env["REDIS_SERVER_BIN"] || undefined,
    searchPath: process.env["PATH"] ?? "",
    cacheDir: join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "api-token-service"),
    report: () => {},
  });
}

/** A folder of the test's own; `remove` it at the end. */
export async function temporaryFolder(): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), "apitoken-"));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

/** An empty Redis with a connection to it. */
export async function startRedis() {
  const folder = await temporaryFolder();
  const server = await redisServer();
  const redis: PrivateRedis = await startPrivateRedis({
    server,
    dataDir: folder.path,
    appendFsync: "everysec",
    log: pino({ level: "silent" }),
  });
  const connection = await connect(redis.socketPath);
  const client = new Redis(redis.socketPath);
  return {
    socketPath: redis.socketPath,
    /** What the product uses. */
    connection,
    /** The test's own way to Redis. */
    client,
    /** Ends the server and leaves the connection trying. */
    shutDown: () => redis.stop(),
    stop: async () => {
      client.disconnect();
      connection.close();
      await redis.stop();
      await folder.remove();
    },
  };
}

/** A connection that is ready. `url`: as REDIS_URL, or the path of a unix socket. */
export async function connect(url: string): Promise<RedisConnection> {
  const connection = new RedisConnection(addressOf(url), { awaitsReplicas: true });
  await eventually(() =>
    Promise.all([...connection.reads.all(), ...connection.writes.all()].map((master) => master.readClock())),
  );
  return connection;
}

export function addressOf(url: string): RedisAddress {
  const tls = { ca: undefined, cert: undefined, key: undefined };
  const address = readRedisUrl(url.startsWith("/") ? `unix://${url}` : url, tls);
  if (address === undefined) throw new Error(`${url} is no REDIS_URL`);
  return address;
}

/**
 * A server on port 0 over an empty Redis, with clients: in development mode, or with another `identify`. `env`: settings as
 * environment variables.
 */
export async function startService(
  env: Readonly<Record<string, string>> = {},
  identify: Pipeline["identify"] = developmentPrincipal,
) {
  const redis = await startRedis();
  const config = readConfig(env);
  const store = new RedisTokenStore(redis.connection, config);
  const verifier = new TokenVerifier(store, { ...config, count: () => {} });
  const server: GrpcServer = await startGrpcServer({
    ...config,
    listeners: [{ address: "127.0.0.1:0", credentials: ServerCredentials.createInsecure() }],
    identify,
    admission: new Admission(config),
    countRefused: () => {},
    observeCall: () => {},
    log: pino({ level: "silent" }),
    tokens: new TokenService(store, config),
    verifier,
  });
  server.health.setServing(true);
  const [address = ""] = server.addresses;
  const tokens = new ApiTokenServiceClient(address, credentials.createInsecure());
  const verification = new TokenVerificationServiceClient(address, credentials.createInsecure());
  return {
    ...server,
    address,
    redis,
    tokens: rpcs(tokens),
    verification: rpcs(verification),
    stop: async () => {
      tokens.close();
      verification.close();
      await server.drain();
      await redis.stop();
    },
  };
}

export type Service = Awaited<ReturnType<typeof startService>>;

/** Who calls, as metadata says it (DESIGN section 6): a development identity, a service's user, or a credential. */
export interface As {
  readonly organization?: string;
  readonly user?: string;
  readonly admin?: boolean;
  readonly authorization?: string;
}

export function metadataOf({ organization, user, admin, authorization }: As = {}): Metadata {
  const metadata = new Metadata();
  if (authorization !== undefined) metadata.set("authorization", authorization);
  if (organization !== undefined) metadata.set("x-organization-id", organization);
  if (user !== undefined) metadata.set("x-user-id", user);
  if (admin !== undefined) metadata.set("x-organization-admin", String(admin));
  return metadata;
}

/** A refused call with its details unpacked. */
export class RpcError extends Error {
  readonly code: string;
  readonly reason: string | undefined;
  readonly sqlState: string | undefined;
  /** `field: description` of each BadRequest violation. */
  readonly violations: readonly string[];
  readonly detailTypes: readonly string[];

  constructor(error: ServiceError) {
    super(error.details);
    this.code = Status[error.code];
    const [bytes] = error.metadata?.get("grpc-status-details-bin") ?? [];
    const details = bytes === undefined ? [] : RpcStatus.decode(bytes as Buffer).details;
    const find = (name: string) => details.find(({ typeUrl }) => typeUrl === `type.googleapis.com/google.rpc.${name}`);
    const info = find("ErrorInfo");
    const decoded = info && ErrorInfo.decode(info.value);
    this.reason = decoded?.reason;
    this.sqlState = decoded?.metadata["sql_state"];
    const badRequest = find("BadRequest");
    const violations = badRequest ? BadRequest.decode(badRequest.value).fieldViolations : [];
    this.violations = violations.map(({ field, description }) => `${field}: ${description}`);
    this.detailTypes = details.map(({ typeUrl }) => typeUrl.replace("type.googleapis.com/google.rpc.", ""));
  }
}

type Unary<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: { deadline: number },
  callback: (error: ServiceError | null, response: Response) => void,
) => unknown;

type Rpcs<Client> = {
  [Name in keyof Client as Client[Name] extends Unary<never, unknown> ? Name : never]: Client[Name] extends Unary<
    infer Request,
    infer Response
  >
    ? (request: Partial<Request>, as?: As) => Promise<Response>
    : never;
};

/** The unary methods of a client as promises that reject with RpcError. Unset request fields get their defaults. */
export function rpcs<Client extends object>(client: Client): Rpcs<Client> {
  return new Proxy({} as Rpcs<Client>, {
    get: (_target, name) => {
      // grpc-js hangs the method's definition on it; decoding no bytes yields the request with all defaults.
      const method = Reflect.get(client, name) as Unary<unknown, unknown> & {
        requestDeserialize(bytes: Buffer): object;
      };
      return (fields: object, as?: As) =>
        new Promise((resolve, reject) => {
          const request = { ...method.requestDeserialize(Buffer.alloc(0)), ...fields };
          const options = { deadline: Date.now() + 10_000 };
          method.call(client, request, metadataOf(as), options, (error, response) => {
            if (error) reject(new RpcError(error));
            else resolve(response);
          });
        });
    },
  });
}

/** Repeats until it no longer rejects; rejects with the last error after the limit. */
export async function eventually<T>(attempt: () => Promise<T> | T, limitMs = 5000): Promise<T> {
  const endMs = performance.now() + limitMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > endMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
