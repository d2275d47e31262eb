// The configuration: which environment variables there are, and which of them go together. A server that would start with
// a wrong, unknown or unsafe setting does not start, and says everything that is wrong at once.
import { availableParallelism } from "node:os";
import { type AccessTokenOptions, ALGORITHMS } from "./auth/access-tokens.js";
import { isTrustworthy } from "./auth/key-set.js";
import { GRANTS, type Grant, TOKEN_REACHES, type TokenReach } from "./domain/access.js";
import { isIdentityName } from "./domain/fields.js";
import { Environment } from "./environment.js";
import { type AdmissionLimits, DEFAULT_CALL_RATES } from "./grpc/admission.js";
import type { CertificateFiles } from "./grpc/certificates.js";
import type { ConnectionLimits } from "./grpc/connection-limit.js";
import { REDIS_URL_FORMS, type RedisAddress, readRedisUrl } from "./redis/redis-address.js";

/** What the server runs with. */
export interface Config extends AdmissionLimits, ConnectionLimits {
  /** True when nothing about callers is configured: they are believed, on loopback only. */
  readonly isDevelopment: boolean;
  /** For callers with a bearer credential; undefined = nobody listens there. */
  readonly listenAddress: string | undefined;
  /** For services with a client certificate. */
  readonly mtls: { readonly listenAddress: string; readonly clientCaFile: string } | undefined;
  readonly tls: Omit<CertificateFiles, "clientCaFile"> | undefined;
  /** For probes without TLS, which learn about health and nothing else. */
  readonly healthAddress: string | undefined;
  readonly services: ReadonlyMap<string, ReadonlySet<Grant>>;
  readonly jwt: (AccessTokenOptions & { readonly keys: KeyLocation }) | undefined;
  readonly tokenReach: TokenReach;
  readonly callTimeoutMs: number;
  readonly maxConnectionAgeMs: number;
  readonly maxMessageBytes: number;
  readonly maxMetadataBytes: number;
  /** undefined = the private Redis. */
  readonly redisAddress: RedisAddress | undefined;
  readonly redisServerBin: string | undefined;
  readonly dataDir: string;
  readonly durability: "safe" | "fast";
  readonly allowVolatileRedis: boolean;
  readonly allowUnverifiedRedis: boolean;
  readonly tokenPrefix: string;
  readonly maxTtlMs: number;
  readonly maxTokensPerUser: number;
  readonly lastUsedResolutionMs: number;
  readonly eventRetentionMs: number;
  /** Processes that serve. */
  readonly workers: number;
  readonly metricsAddress: string | undefined;
  readonly logLevel: (typeof LOG_LEVELS)[number];
}

/** Where the issuer's keys are: at a URL, in a file, or where the issuer's discovery document says. */
export interface KeyLocation {
  readonly kind: "url" | "file" | "discovery";
  readonly at: string;
}

/** The reasons why the server does not start, one line each. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly faults: readonly string[];

  constructor(faults: readonly string[]) {
    super(`apitokend does not start:\n${faults.map((fault) => `  - ${fault}`).join("\n")}`);
    this.faults = faults;
  }
}

export const DEFAULT_LISTEN_ADDRESS = "127.0.0.1:50051";

const MAX_WORKERS = 256;
const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "silent"] as const;
/** Print what they see, headers and arguments with secrets in them, or trust whom they should not. */
const UNSAFE_VARIABLES = ["GRPC_TRACE", "GRPC_NODE_TRACE", "GRPC_NODE_DEBUG_SEND_ERROR_DETAILS", "NODE_DEBUG", "DEBUG"];

type Variables = Readonly<Record<string, string | undefined>>;

/** Reads the configuration; throws ConfigError with every fault. */
export function readConfig(variables: Variables): Config {
  return load(variables).config;
}

/** All variables with the values in force, passwords masked, as lines of `NAME=value`. Throws as readConfig does. */
export function describeConfig(variables: Variables): string {
  return Array.from(load(variables).env.settings, ([name, text]) => `${name}=${text}\n`).join("");
}

function load(variables: Variables): { config: Config; env: Environment } {
  const env = new Environment(variables);
  const config = read(env);
  refuseUnsafe(env, config, variables["NODE_ENV"]?.toLowerCase() === "production");
  if (env.faults.length > 0) throw new ConfigError(env.faults);
  return { config, env };
}

function read(env: Environment): Config {
  const jwt = readJwt(env);
  const mtls = readMtls(env);
  const isDevelopment = jwt === undefined && mtls === undefined;
  const hasBearers = isDevelopment || jwt !== undefined || env.isSet("LISTEN_ADDRESS");
  return {
    isDevelopment,
    listenAddress: env.address("LISTEN_ADDRESS", hasBearers ? DEFAULT_LISTEN_ADDRESS : ""),
    mtls,
    tls: readTls(env, isDevelopment),
    healthAddress: env.address("HEALTH_ADDRESS"),
    services: env.pairs("SERVICE_IDENTITIES", `uri=grant,grant pairs; grants are ${GRANTS.join(" and ")}`, readGrants),
    jwt,
    tokenReach: env.oneOf("TOKENS_MAY_MANAGE", "self", TOKEN_REACHES),
    ...readLimits(env),
    redisAddress: readRedis(env),
    redisServerBin: env.text("REDIS_SERVER_BIN"),
    dataDir: env.value("DATA_DIR", "data", "a folder", (text) => text),
    durability: env.oneOf("DURABILITY", "safe", ["safe", "fast"]),
    allowVolatileRedis: env.flag("ALLOW_VOLATILE_REDIS"),
    allowUnverifiedRedis: env.flag("ALLOW_UNVERIFIED_REDIS"),
    tokenPrefix: env.value("TOKEN_PREFIX", "apt", "2 to 12 lower-case letters or digits", (text) =>
      /^[a-z0-9]{2,12}$/.test(text) ? text : undefined,
    ),
    maxTtlMs: env.durationMs("MAX_TTL", "365d", "1m", "36500d"),
    maxTokensPerUser: env.wholeNumber("MAX_TOKENS_PER_USER", "1000", 1, 1_000_000),
    lastUsedResolutionMs: env.durationMs("LAST_USED_RESOLUTION", "60s", "1s", "1d"),
    eventRetentionMs: env.durationMs("EVENT_RETENTION", "400d", "1d", "36500d"),
    workers: env.value("WORKERS", "1", `auto or a whole number from 1 to ${MAX_WORKERS}`, (text) => {
      const number = text === "auto" ? availableParallelism() : Number(/^\d{1,3}$/.exec(text)?.[0]);
      return number >= 1 && number <= MAX_WORKERS ? number : undefined;
    }),
    metricsAddress: env.address("METRICS_ADDRESS"),
    logLevel: env.oneOf("LOG_LEVEL", "info", LOG_LEVELS),
  };
}

function readRedis(env: Environment): RedisAddress | undefined {
  const tls = {
    ca: env.file("REDIS_TLS_CA_FILE"),
    cert: env.file("REDIS_TLS_CERT_FILE"),
    key: env.file("REDIS_TLS_KEY_FILE"),
  };
  const address = env.optional("REDIS_URL", REDIS_URL_FORMS, (text) => readRedisUrl(text, tls));
  if (env.isSet("REDIS_TLS_CERT_FILE") !== env.isSet("REDIS_TLS_KEY_FILE"))
    env.fault("REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE go together");
  const isSet = Object.values(tls).some((text) => text !== undefined);
  const isReadable = address !== undefined || !env.isSet("REDIS_URL");
  if (isSet && isReadable && address?.options.tls === undefined)
    env.fault("REDIS_TLS_CA_FILE, REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE need a REDIS_URL that begins with rediss");
  return address;
}

function readJwt(env: Environment): Config["jwt"] {
  const issuer = env.text("JWT_ISSUER");
  const audience = env.text("JWT_AUDIENCE");
  const trusted = "an https:// URL, or http:// on loopback";
  const url = env.optional("JWT_JWKS_URL", trusted, (text) => (isTrustworthy(text) ? text : undefined));
  const file = env.text("JWT_JWKS_FILE");
  const options = {
    algorithms: env.value("JWT_ALGORITHMS", ALGORITHMS.join(","), `some of ${ALGORITHMS.join(",")}`, readAlgorithms),
    clockToleranceMs: env.durationMs("JWT_CLOCK_TOLERANCE", "30s", "0s", "5m"),
    organizationClaim: env.value("JWT_ORGANIZATION_CLAIM", "organization_id", "a claim", (text) => text),
    userClaim: env.value("JWT_USER_CLAIM", "sub", "a claim", (text) => text),
    rolesClaim: env.value("JWT_ROLES_CLAIM", "roles", "a claim", (text) => text),
    administratorRole: env.value("JWT_ADMINISTRATOR_ROLE", "organization-administrator", "a role", (text) => text),
  };
  if (![...env.settings.keys()].some((name) => name.startsWith("JWT_") && env.isSet(name))) return undefined;

  if (issuer === undefined) env.fault("JWT_ISSUER is missing: whose JWTs are to be accepted?");
  if (audience === undefined) env.fault("JWT_AUDIENCE is missing: JWTs for other services must not be accepted");
  if (url !== undefined && file !== undefined) env.fault("JWT_JWKS_URL and JWT_JWKS_FILE exclude each other");
  const isKeyless = !env.isSet("JWT_JWKS_URL") && file === undefined && !isTrustworthy(issuer ?? "");
  if (isKeyless) env.fault("JWT_JWKS_URL or JWT_JWKS_FILE is missing: only an https:// issuer tells its own keys");
  return { issuer: issuer ?? "", audience: audience ?? "", ...options, keys: keyLocation(url, file, issuer ?? "") };
}

function keyLocation(url: string | undefined, file: string | undefined, issuer: string): KeyLocation {
  if (url !== undefined) return { kind: "url", at: url };
  return file === undefined ? { kind: "discovery", at: issuer } : { kind: "file", at: file };
}

function readAlgorithms(text: string): AccessTokenOptions["algorithms"] | undefined {
  const names = text.split(",");
  const known = ALGORITHMS.filter((name) => names.includes(name));
  return known.length === names.length ? known : undefined;
}

function readMtls(env: Environment): Config["mtls"] {
  const listenAddress = env.address("MTLS_LISTEN_ADDRESS");
  const clientCaFile = env.text("TLS_CLIENT_CA_FILE");
  const names = ["MTLS_LISTEN_ADDRESS", "TLS_CLIENT_CA_FILE", "SERVICE_IDENTITIES"].filter((name) => env.isSet(name));
  if (names.length > 0 && names.length < 3) {
    env.fault("MTLS_LISTEN_ADDRESS, TLS_CLIENT_CA_FILE and SERVICE_IDENTITIES go together");
  }
  return names.length === 0 ? undefined : { listenAddress: listenAddress ?? "", clientCaFile: clientCaFile ?? "" };
}

function readTls(env: Environment, isDevelopment: boolean): Config["tls"] {
  const certFile = env.text("TLS_CERT_FILE");
  const keyFile = env.text("TLS_KEY_FILE");
  if ((certFile === undefined) !== (keyFile === undefined)) env.fault("TLS_CERT_FILE and TLS_KEY_FILE go together");
  const isSet = certFile !== undefined && keyFile !== undefined;
  if (isSet && isDevelopment) env.fault("TLS_CERT_FILE needs authentication: JWT_ISSUER or MTLS_LISTEN_ADDRESS");
  if (!isSet && env.isSet("MTLS_LISTEN_ADDRESS")) env.fault("MTLS_LISTEN_ADDRESS needs TLS_CERT_FILE and TLS_KEY_FILE");
  return isSet ? { certFile, keyFile } : undefined;
}

function readGrants(uri: string, list: string): ReadonlySet<Grant> | undefined {
  const words = list.split(",");
  const grants = GRANTS.filter((grant) => words.includes(grant));
  const isUri = isIdentityName(uri) && /^[a-z][a-z0-9+.-]*:[^",]+$/i.test(uri);
  return isUri && grants.length === words.length ? new Set(grants) : undefined;
}

function readLimits(env: Environment) {
  const rates = env.pairs(
    "CALL_RATES",
    "rpc=calls pairs, a second and caller, such as VerifyToken=20000",
    (rpc, text) => (Object.hasOwn(DEFAULT_CALL_RATES, rpc) && /^[1-9]\d{0,6}$/.test(text) ? Number(text) : undefined),
  );
  const callRates = { ...DEFAULT_CALL_RATES, ...Object.fromEntries(rates) };
  env.show(
    "CALL_RATES",
    Object.entries(callRates).map(([rpc, rate]) => `${rpc}=${rate}`),
  );
  return {
    callRates,
    failedCredentialRate: env.wholeNumber("FAILED_CREDENTIAL_RATE", "200", 1, 1_000_000),
    failedVerificationRate: env.wholeNumber("FAILED_VERIFICATION_RATE", "5000", 1, 1_000_000),
    maxConcurrentCalls: env.wholeNumber("MAX_CONCURRENT_CALLS", "1000", 1, 100_000),
    maxConcurrentCallsPerCaller: env.wholeNumber("MAX_CONCURRENT_CALLS_PER_CALLER", "250", 1, 100_000),
    maxConnections: env.wholeNumber("MAX_CONNECTIONS", "10000", 1, 1_000_000),
    maxConnectionsPerPeer: env.wholeNumber("MAX_CONNECTIONS_PER_PEER", "1000", 1, 1_000_000),
    maxConnectionAgeMs: env.durationMs("MAX_CONNECTION_AGE", "1h", "1s", "1d"),
    callTimeoutMs: env.durationMs("CALL_TIMEOUT", "10s", "1s", "60s"),
    maxMessageBytes: env.wholeNumber("MAX_MESSAGE_BYTES", "65536", 4096, 4_194_304),
    maxMetadataBytes: env.wholeNumber("MAX_METADATA_BYTES", "16384", 1024, 65_536),
  };
}

function refuseUnsafe(env: Environment, config: Config, isProduction: boolean): void {
  const { isDevelopment, listenAddress, tls } = config;
  for (const name of env.unknown(/^(?:JWT|TLS|MTLS|TOKENS|CALL|REDIS_TLS|MAX_CONCURRENT|MAX_CONNECTIONS?)_/))
    env.fault(`${name} is no setting: is it misspelt?`);
  if (isDevelopment && !isLoopback(listenAddress)) {
    env.fault("LISTEN_ADDRESS must be a loopback address: without authentication nobody else may reach the server");
  }
  if (isDevelopment && !isLoopback(config.metricsAddress)) {
    env.fault("METRICS_ADDRESS must be a loopback address in development mode");
  }
  if (isDevelopment && !isLoopback(config.healthAddress)) {
    env.fault("HEALTH_ADDRESS must be a loopback address in development mode");
  }
  if (isDevelopment && isProduction) {
    env.fault("NODE_ENV=production needs authentication: JWT_ISSUER or MTLS_LISTEN_ADDRESS");
  }
  if (!isDevelopment && tls === undefined && (isProduction || !isLoopback(listenAddress))) {
    env.fault("TLS_CERT_FILE and TLS_KEY_FILE are missing: credentials must not travel in plaintext");
  }
  if (isDevelopment && !isProduction) return;
  for (const name of UNSAFE_VARIABLES) {
    if (env.isSet(name)) env.fault(`${name} must not be set in production: it can print secrets`);
  }
  if (env.isSet("NODE_TLS_REJECT_UNAUTHORIZED"))
    env.fault("NODE_TLS_REJECT_UNAUTHORIZED must not be set in production");
}

function isLoopback(address: string | undefined): boolean {
  return address === undefined || /^(?:127\.\d+\.\d+\.\d+|localhost|\[::1\]):\d+$/.test(address);
}
