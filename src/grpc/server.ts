// The gRPC server: its services, its limits, and how it starts and drains.
import { setTimeout as delay } from "node:timers/promises";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { HealthService } from "../../gen/grpc/health/v1/health.js";
import { type ServerReflectionServer, ServerReflectionService } from "../../gen/grpc/reflection/v1/reflection.js";
import { ServerReflectionService as ServerReflectionV1AlphaService } from "../../gen/grpc/reflection/v1alpha/reflection.js";
import type { TokenService } from "../domain/token-service.js";
import type { TokenVerifier } from "../domain/token-verifier.js";
import type { Pipeline } from "./call.js";
import { CallGuard, type CallGuardOptions } from "./call-guard.js";
import { ConnectionLimit, type ConnectionLimits } from "./connection-limit.js";
import { onHttp2Server, redactGrpcLog } from "./grpc-js.js";
import { apiTokenHandlers, tokenVerificationHandlers } from "./handlers.js";
import { Health } from "./health.js";
import { apiTokenService, tokenVerificationService } from "./services.js";

const OWN_SERVICES = ["apitoken.v1.ApiTokenService", "apitoken.v1.TokenVerificationService"];
const REFLECTED_SERVICES = [
  ...OWN_SERVICES,
  "grpc.health.v1.Health",
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection",
];

/** Beyond this, and its age, a connection is asked to make place for a new one, so that load and certificates move on. */
const MAX_CONNECTION_IDLE_MS = 15 * 60_000;
const MAX_CONNECTION_AGE_GRACE_MS = 60_000;
const MAX_CONCURRENT_STREAMS = 100;
/** Calls that have come but whose handlers do not run yet: half-sent, or about to be refused. */
const OPEN_CALLS_PER_HANDLER = 4;
/** How long running calls may hold up the end. Whoever stops this process has to be more patient: deploy/ is. */
export const DRAIN_LIMIT_MS = 25_000;
const DRAIN_POLL_MS = 20;
/** What clients get to read their last answers and close. */
const FAREWELL_MS = 1000;

export interface GrpcServerOptions extends Pipeline, ConnectionLimits {
  readonly listeners: readonly { readonly address: string; readonly credentials: ServerCredentials }[];
  /** Where health, and nothing else, is told without TLS: probes of Kubernetes know none. */
  readonly healthAddress: string | undefined;
  readonly tokens: TokenService;
  readonly verifier: TokenVerifier;
  /** See CallGuardOptions. */
  readonly observeCall: CallGuardOptions["observeCall"];
  readonly callTimeoutMs: number;
  readonly maxMessageBytes: number;
  readonly maxMetadataBytes: number;
  readonly maxConcurrentCalls: number;
  /** What a connection may come to, a tenth more or less; then it has a minute for its calls. */
  readonly maxConnectionAgeMs: number;
}

/** A server that listens. */
export interface GrpcServer {
  /** host:port of each listener, with the real port where 0 was asked for. */
  readonly addresses: readonly string[];
  /** The same of the one for health alone. */
  readonly healthAddress: string | undefined;
  readonly health: Health;
  /** Refuses new calls, ends streams, lets running calls end, and gives up on them after 25 s. */
  drain(): Promise<void>;
}

/** Starts listening. Rejects when an address cannot be bound. */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const { listeners, tokens, verifier } = options;
  redactGrpcLog(options.log);
  const health = new Health(OWN_SERVICES);
  const guard = new CallGuard({ ...options, maxOpenCalls: OPEN_CALLS_PER_HANDLER * options.maxConcurrentCalls });
  const connections = new ConnectionLimit(options, options.log);
  const server = newServer(options, guard, connections);
  server.addService(apiTokenService, apiTokenHandlers(options, tokens));
  server.addService(tokenVerificationService, tokenVerificationHandlers(options, verifier));
  server.addService(HealthService, health.handlers);
  const reflection = { serverReflectionInfo };
  server.addService(ServerReflectionService, reflection);
  server.addService(ServerReflectionV1AlphaService, reflection);
  const healthServer = newServer(options, guard, connections);
  healthServer.addService(HealthService, health.handlers);
  const drain = async () => {
    health.setServing(false);
    guard.endStreams();
    await shutDown(server, guard);
    // To the last it says that this server is not serving. Without channelz a forceShutdown would leave its connections.
    healthServer.tryShutdown(() => {});
  };
  try {
    const addresses: string[] = [];
    for (const { address, credentials } of listeners) addresses.push(await bind(server, address, credentials));
    const healthAddress =
      options.healthAddress && (await bind(healthServer, options.healthAddress, ServerCredentials.createInsecure()));
    return { addresses, healthAddress, health, drain };
  } catch (error) {
    server.forceShutdown();
    healthServer.forceShutdown();
    throw error;
  }
}

const serverReflectionInfo: ServerReflectionServer["serverReflectionInfo"] = (call) => {
  import("./reflection.js").then(
    ({ answerReflection }) => answerReflection(call, REFLECTED_SERVICES),
    (error: unknown) => call.emit("error", error),
  );
};

/** A server with our limits and no services. */
function newServer(options: GrpcServerOptions, guard: CallGuard, connections: ConnectionLimit): Server {
  const server = new Server({
    interceptors: [guard.interceptor],
    "grpc.max_receive_message_length": options.maxMessageBytes,
    "grpc.max_concurrent_streams": MAX_CONCURRENT_STREAMS,
    // Counts and timestamps of each call and message, which nobody here asks for.
    "grpc.enable_channelz": 0,
    "grpc.max_connection_idle_ms": MAX_CONNECTION_IDLE_MS,
    "grpc.max_connection_age_ms": options.maxConnectionAgeMs,
    "grpc.max_connection_age_grace_ms": MAX_CONNECTION_AGE_GRACE_MS,
    // Node keeps a connection after an HTTP/2 error, and does not even notice that its client has closed it: only a PING
    // without answer ends it.
    "grpc.keepalive_time_ms": 15_000,
    "grpc.keepalive_timeout_ms": 10_000,
  });
  const { maxMetadataBytes } = options;
  onHttp2Server(server, (http2Server) => connections.watch(http2Server), {
    serveUnary: guard.serveUnary,
    maxMetadataBytes,
  });
  return server;
}

function bind(server: Server, address: string, credentials: ServerCredentials): Promise<string> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error) reject(error);
      else resolve(address.replace(/\d+$/, String(port)));
    });
  });
}

/** Lets running calls end, and then the clients' connections, of which some never would by themselves. */
async function shutDown(server: Server, guard: CallGuard): Promise<void> {
  const closed = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
  const limitMs = performance.now() + DRAIN_LIMIT_MS;
  while (guard.openUnary > 0 && performance.now() < limitMs) await delay(DRAIN_POLL_MS);
  await Promise.race([closed, delay(FAREWELL_MS, undefined, { ref: false })]);
  server.forceShutdown();
}
