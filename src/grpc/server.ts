// The gRPC server: its services, its limits, and how it starts and drains.
import { setTimeout as delay } from "node:timers/promises";
import { Server, ServerCredentials, setLogger } from "@grpc/grpc-js";
import type { Logger } from "pino";
import { ApiTokenServiceService } from "../../gen/apitoken/v1/api_token_service.js";
import { TokenVerificationServiceService } from "../../gen/apitoken/v1/token_verification_service.js";
import { HealthService } from "../../gen/grpc/health/v1/health.js";
import { ServerReflectionService } from "../../gen/grpc/reflection/v1/reflection.js";
import { ServerReflectionService as ServerReflectionV1AlphaService } from "../../gen/grpc/reflection/v1alpha/reflection.js";
import type { TokenService } from "../domain/token-service.js";
import type { TokenVerifier } from "../domain/token-verifier.js";
import { CallLimits, type Pipeline } from "./call.js";
import { apiTokenHandlers, tokenVerificationHandlers } from "./handlers.js";
import { Health } from "./health.js";
import { reflectionHandlers } from "./reflection.js";

const OWN_SERVICES = ["apitoken.v1.ApiTokenService", "apitoken.v1.TokenVerificationService"];
const REFLECTED_SERVICES = [
  ...OWN_SERVICES,
  "grpc.health.v1.Health",
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection",
];

/** Far above what any call takes: a handler waits for Redis for about a second at most. */
const MAX_UNARY_MS = 10_000;
const DRAIN_LIMIT_MS = 25_000;
const DRAIN_POLL_MS = 20;
/** What clients get to read their last answers and close. */
const FAREWELL_MS = 1000;

/** A server that listens. */
export interface GrpcServer {
  /** host:port, with the real port where 0 was asked for. */
  readonly address: string;
  readonly health: Health;
  /** Refuses new calls, ends streams, lets running calls end, and gives up on them after 25 s. */
  drain(): Promise<void>;
}

/** Starts listening. Rejects when the address cannot be bound. */
export async function startGrpcServer(
  options: Pipeline & { address: string; tokens: TokenService; verifier: TokenVerifier },
): Promise<GrpcServer> {
  const { address, tokens, verifier } = options;
  redactGrpcLog(options.log);
  const health = new Health(OWN_SERVICES);
  const limits = new CallLimits({ maxUnaryMs: MAX_UNARY_MS });
  const server = new Server({
    interceptors: [limits.interceptor],
    "grpc.keepalive_time_ms": 60_000,
    "grpc.keepalive_timeout_ms": 20_000,
  });
  server.addService(ApiTokenServiceService, apiTokenHandlers(options, tokens));
  server.addService(TokenVerificationServiceService, tokenVerificationHandlers(options, verifier));
  server.addService(HealthService, health.handlers);
  const reflection = reflectionHandlers(REFLECTED_SERVICES);
  server.addService(ServerReflectionService, reflection);
  server.addService(ServerReflectionV1AlphaService, reflection);
  const port = await bind(server, address);
  const drain = async () => {
    health.setServing(false);
    limits.endStreams();
    await shutDown(server, limits);
  };
  return { address: address.replace(/\d+$/, String(port)), health, drain };
}

function bind(server: Server, address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
      if (error) reject(error);
      else resolve(port);
    });
  });
}

/** Lets running calls end, and then the clients' connections, of which some never would by themselves. */
async function shutDown(server: Server, limits: CallLimits): Promise<void> {
  const closed = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
  const limitMs = performance.now() + DRAIN_LIMIT_MS;
  while (limits.openUnary > 0 && performance.now() < limitMs) await delay(DRAIN_POLL_MS);
  await Promise.race([closed, delay(FAREWELL_MS, undefined, { ref: false })]);
  server.forceShutdown();
}

/** grpc-js can print a whole bearer token (a header it cannot parse): only the beginning, which is its own, passes. */
function redactGrpcLog(log: Logger): void {
  const print = (...parts: unknown[]) => {
    const [beginning = ""] = parts
      .map(String)
      .join(" ")
      .split(/["'`:]/);
    log.debug({ grpc: beginning.slice(0, 80) }, "grpc-js");
  };
  setLogger({ error: print, info: print, debug: print });
}
