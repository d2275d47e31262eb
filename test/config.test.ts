// A server with a wrong, unknown or unsafe setting does not start, and says everything that is wrong at once.
import { availableParallelism } from "node:os";
import { expect, test } from "@jest/globals";
import { ConfigError, describeConfig, readConfig } from "../src/config.js";

function faults(env: Record<string, string>): readonly string[] {
  try {
    readConfig(env);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.faults;
  }
}

test("with nothing configured the server listens on loopback over a private Redis", () => {
  expect(readConfig({})).toEqual({
    isDevelopment: true,
    listenAddress: "127.0.0.1:50051",
    mtls: undefined,
    tls: undefined,
    healthAddress: undefined,
    services: new Map(),
    jwt: undefined,
    tokenReach: "self",
    callRates: {
      CreateToken: 100,
      GetToken: 500,
      ListTokens: 100,
      RenewToken: 100,
      RevokeToken: 100,
      ListTokenEvents: 100,
      VerifyToken: 20_000,
    },
    failedCredentialRate: 200,
    failedVerificationRate: 5000,
    maxConcurrentCalls: 1000,
    maxConcurrentCallsPerCaller: 250,
    maxConnections: 10_000,
    maxConnectionsPerPeer: 1000,
    maxConnectionAgeMs: 3_600_000,
    callTimeoutMs: 10_000,
    maxMessageBytes: 65_536,
    maxMetadataBytes: 16_384,
    redisAddress: undefined,
    redisServerBin: undefined,
    dataDir: "data",
    durability: "safe",
    allowVolatileRedis: false,
    allowUnverifiedRedis: false,
    tokenPrefix: "apt",
    maxTtlMs: 31_536_000_000,
    maxTokensPerUser: 1000,
    lastUsedResolutionMs: 60_000,
    eventRetentionMs: 34_560_000_000,
    workers: 1,
    metricsAddress: undefined,
    logLevel: "info",
  });
});

test("an empty variable is an unset one", () => {
  expect(readConfig({ REDIS_URL: "", MAX_TTL: "", JWT_ISSUER: "" })).toEqual(readConfig({}));
});

test.each([
  ["MAX_TTL", "24h", "maxTtlMs", 86_400_000],
  ["MAX_TTL", "36500d", "maxTtlMs", 3_153_600_000_000],
  ["LAST_USED_RESOLUTION", "1500ms", "lastUsedResolutionMs", 1500],
  ["REDIS_URL", "unix:///run/redis.sock", "redisAddress", { kind: "standalone", options: { path: "/run/redis.sock" } }],
  ["LISTEN_ADDRESS", "[::1]:0", "listenAddress", "[::1]:0"],
  ["DURABILITY", "fast", "durability", "fast"],
  ["WORKERS", "3", "workers", 3],
  ["WORKERS", "auto", "workers", availableParallelism()],
  ["ALLOW_VOLATILE_REDIS", "1", "allowVolatileRedis", true],
  ["TOKENS_MAY_MANAGE", "owner", "tokenReach", "owner"],
  ["EVENT_RETENTION", "1d", "eventRetentionMs", 86_400_000],
  ["CALL_TIMEOUT", "2s", "callTimeoutMs", 2000],
  ["MAX_CONNECTION_AGE", "5m", "maxConnectionAgeMs", 300_000],
  ["HEALTH_ADDRESS", "127.0.0.1:50053", "healthAddress", "127.0.0.1:50053"],
  ["METRICS_ADDRESS", "127.0.0.1:0", "metricsAddress", "127.0.0.1:0"],
])("%s=%s is understood", (name, value, field, expected) => {
  expect(readConfig({ [name]: value })).toMatchObject({ [field]: expected });
});

test.each([
  ["LISTEN_ADDRESS", "127.0.0.1"],
  ["LISTEN_ADDRESS", "127.0.0.1:99999"],
  ["LISTEN_ADDRESS", "nowhere"],
  ["REDIS_URL", "http://x"],
  ["REDIS_URL", "localhost:6379"],
  ["REDIS_URL", "redis://[bad"],
  ["REDIS_URL", "redis://user:secret@127.0.0.1:99999"],
  ["REDIS_URL", "unix://run/redis.sock"],
  ["REDIS_URL", "redis://127.0.0.1:6379/abc"],
  ["REDIS_URL", "redis://127.0.0.1:6379/0?commandTimeout=90000"],
  ["REDIS_URL", "redis://user:%zz@127.0.0.1:6379"],
  ["REDIS_URL", "redis://127.0.0.1:6379,127.0.0.1:6380"],
  ["REDIS_URL", "redis+sentinel://127.0.0.1:26379/my%master"],
  ["REDIS_URL", "redis+sentinel://127.0.0.1:26379"],
  ["REDIS_URL", "redis+sentinel://127.0.0.1:26379,/mymaster"],
  ["REDIS_URL", "redis+sentinel://127.0.0.1:26379/mymaster?password=secret"],
  ["REDIS_URL", "redis+sentinel://127.0.0.1:0/mymaster"],
  ["REDIS_URL", "redis+cluster://user:%zz@127.0.0.1:7000"],
  ["REDIS_URL", "redis+cluster://127.0.0.1:7000/0"],
  ["REDIS_URL", "redis+cluster://127.0.0.1:70000"],
  ["REDIS_URL", "redis+other://127.0.0.1:7000"],
  ["REDIS_TLS_CA_FILE", "/nowhere/ca.pem"],
  ["DURABILITY", "SAFE"],
  ["WORKERS", "0"],
  ["WORKERS", "257"],
  ["WORKERS", "all"],
  ["WORKERS", "1.5"],
  ["TOKEN_PREFIX", "a"],
  ["TOKEN_PREFIX", "a_b"],
  ["MAX_TTL", "90"],
  ["MAX_TTL", "59s"],
  ["MAX_TTL", "-1d"],
  ["MAX_TOKENS_PER_USER", "0"],
  ["MAX_TOKENS_PER_USER", "1e3"],
  ["LAST_USED_RESOLUTION", "0s"],
  ["ALLOW_VOLATILE_REDIS", "yes"],
  ["ALLOW_VOLATILE_REDIS", "constructor"],
  ["LOG_LEVEL", "loud"],
  ["EVENT_RETENTION", "23h"],
  ["TOKENS_MAY_MANAGE", "all"],
  ["METRICS_ADDRESS", "9090"],
  ["CALL_RATES", "VerifyToken"],
  ["CALL_RATES", "VerifyToken=0"],
  ["CALL_RATES", "NoSuchRpc=1"],
  ["CALL_RATES", "__proto__=1"],
  ["CALL_RATES", "VerifyToken=1 VerifyToken=2"],
  ["FAILED_VERIFICATION_RATE", "-1"],
  ["FAILED_CREDENTIAL_RATE", "0"],
  ["MAX_CONCURRENT_CALLS", "0"],
  ["MAX_CONCURRENT_CALLS_PER_CALLER", "x"],
  ["MAX_CONNECTIONS", "0"],
  ["MAX_CONNECTIONS_PER_PEER", "many"],
  ["CALL_TIMEOUT", "0s"],
  ["MAX_CONNECTION_AGE", "25d"],
  ["HEALTH_ADDRESS", "50053"],
  ["MAX_MESSAGE_BYTES", "1"],
  ["MAX_METADATA_BYTES", "100000"],
  ["SERVICE_IDENTITIES", "spiffe://a/b"],
  ["SERVICE_IDENTITIES", "spiffe://a/b="],
  ["SERVICE_IDENTITIES", "spiffe://a/b=everything"],
  ["SERVICE_IDENTITIES", "spiffe://a/b=verify,verify"],
  ["SERVICE_IDENTITIES", "gateway=verify"],
  ["SERVICE_IDENTITIES", "=verify"],
  ["SERVICE_IDENTITIES", "spiffe://a/b=verify spiffe://a/b=act-for-users"],
  ["JWT_JWKS_URL", "http://issuer.example/jwks"],
  ["JWT_JWKS_URL", "file:///etc/passwd"],
  ["JWT_ALGORITHMS", "HS256"],
  ["JWT_ALGORITHMS", "none"],
  ["JWT_ALGORITHMS", "RS256,RS256"],
  ["JWT_CLOCK_TOLERANCE", "1h"],
])("%s=%s is refused, and the value is not repeated", (name, value) => {
  const all = faults({ [name]: value });
  expect(all).toContainEqual(expect.stringMatching(new RegExp(`^${name} must be `)));
  if (name === "REDIS_URL") expect(all.join()).not.toContain(value);
});

test.each(["0.0.0.0:50051", "10.0.0.1:50051", "[::]:50051", "example.com:50051", "127.0.0.1.example.com:1"])(
  "the address %s, which others can reach, is refused while there is no authentication",
  (address) => {
    expect(faults({ LISTEN_ADDRESS: address })).toEqual([
      "LISTEN_ADDRESS must be a loopback address: without authentication nobody else may reach the server",
    ]);
  },
);

test("all faults come at once", () => {
  const env = { NODE_ENV: "production", LISTEN_ADDRESS: "0.0.0.0:1", MAX_TTL: "x", TLS_KEY_FILE: "x" };
  expect(faults(env)).toEqual([
    "TLS_CERT_FILE and TLS_KEY_FILE go together",
    "MAX_TTL must be from 1m to 36500d, such as 365d",
    "LISTEN_ADDRESS must be a loopback address: without authentication nobody else may reach the server",
    "NODE_ENV=production needs authentication: JWT_ISSUER or MTLS_LISTEN_ADDRESS",
  ]);
  expect(() => readConfig(env)).toThrow(/^apitokend does not start:\n {2}- TLS_CERT_FILE .*\n {2}- MAX_TTL/);
});

const JWT = { JWT_ISSUER: "https://issuer.example", JWT_AUDIENCE: "api-token-service" };
const TLS = { TLS_CERT_FILE: "cert.pem", TLS_KEY_FILE: "key.pem" };
const MTLS = {
  MTLS_LISTEN_ADDRESS: "0.0.0.0:50052",
  TLS_CLIENT_CA_FILE: "ca.pem",
  SERVICE_IDENTITIES: "spiffe://a/gateway=verify spiffe://a/portal?x=y=act-for-users,verify",
};

test("JWTs are taken from one issuer for one audience, with keys from a URL, a file, or the issuer's own document", () => {
  expect(readConfig(JWT)).toMatchObject({
    isDevelopment: false,
    listenAddress: "127.0.0.1:50051",
    jwt: {
      issuer: "https://issuer.example",
      audience: "api-token-service",
      keys: { kind: "discovery", at: "https://issuer.example" },
      clockToleranceMs: 30_000,
      organizationClaim: "organization_id",
      userClaim: "sub",
      rolesClaim: "roles",
      administratorRole: "organization-administrator",
    },
  });
  const url = "http://127.0.0.1:1/jwks";
  expect(readConfig({ ...JWT, JWT_JWKS_URL: url }).jwt?.keys).toEqual({ kind: "url", at: url });
  expect(readConfig({ ...JWT, JWT_JWKS_FILE: "jwks.json" }).jwt?.keys).toEqual({ kind: "file", at: "jwks.json" });
});

test.each([
  [{ JWT_AUDIENCE: "a" }, "JWT_ISSUER is missing: whose JWTs are to be accepted?"],
  [{ JWT_ISSUER: "https://a" }, "JWT_AUDIENCE is missing: JWTs for other services must not be accepted"],
  [{ JWT_ALGORITHMS: "ES256" }, "JWT_ISSUER is missing: whose JWTs are to be accepted?"],
  [
    { ...JWT, JWT_ISSUER: "acme" },
    "JWT_JWKS_URL or JWT_JWKS_FILE is missing: only an https:// issuer tells its own keys",
  ],
  [{ ...JWT, JWT_JWKS_URL: "https://a", JWT_JWKS_FILE: "b" }, "JWT_JWKS_URL and JWT_JWKS_FILE exclude each other"],
  [{ ...JWT, TLS_CERT_FILE: "cert.pem" }, "TLS_CERT_FILE and TLS_KEY_FILE go together"],
  [TLS, "TLS_CERT_FILE needs authentication: JWT_ISSUER or MTLS_LISTEN_ADDRESS"],
  [
    { ...JWT, LISTEN_ADDRESS: "0.0.0.0:1" },
    "TLS_CERT_FILE and TLS_KEY_FILE are missing: credentials must not travel in plaintext",
  ],
  [
    { ...JWT, NODE_ENV: "production" },
    "TLS_CERT_FILE and TLS_KEY_FILE are missing: credentials must not travel in plaintext",
  ],
  [MTLS, "MTLS_LISTEN_ADDRESS needs TLS_CERT_FILE and TLS_KEY_FILE"],
  [
    { ...TLS, ...MTLS, SERVICE_IDENTITIES: "" },
    "MTLS_LISTEN_ADDRESS, TLS_CLIENT_CA_FILE and SERVICE_IDENTITIES go together",
  ],
  [
    { ...JWT, ...TLS, TLS_CLIENT_CA_FILE: "ca.pem" },
    "MTLS_LISTEN_ADDRESS, TLS_CLIENT_CA_FILE and SERVICE_IDENTITIES go together",
  ],
  [{ METRICS_ADDRESS: "0.0.0.0:9090" }, "METRICS_ADDRESS must be a loopback address in development mode"],
  [{ HEALTH_ADDRESS: "0.0.0.0:50053" }, "HEALTH_ADDRESS must be a loopback address in development mode"],
  ...["GRPC_TRACE", "GRPC_NODE_TRACE", "GRPC_NODE_DEBUG_SEND_ERROR_DETAILS", "NODE_DEBUG", "DEBUG"].map(
    (name) => [{ ...JWT, [name]: "all" }, `${name} must not be set in production: it can print secrets`] as const,
  ),
  [{ ...JWT, NODE_TLS_REJECT_UNAUTHORIZED: "0" }, "NODE_TLS_REJECT_UNAUTHORIZED must not be set in production"],
])("%j is refused", (env, fault) => {
  expect(faults(env)).toContain(fault);
});

test("a setting whose name is misspelt is refused, not ignored", () => {
  expect(faults({ ...JWT, JWT_ALGORITHM: "ES256", TLS_CERTFILE: "x", MTLS_ADDRESS: "y" })).toEqual([
    "JWT_ALGORITHM is no setting: is it misspelt?",
    "TLS_CERTFILE is no setting: is it misspelt?",
    "MTLS_ADDRESS is no setting: is it misspelt?",
  ]);
});

test("with mTLS alone only services are listened to, and bearers where an address is given for them", () => {
  const config = readConfig({ ...TLS, ...MTLS, NODE_ENV: "production" });
  expect(config).toMatchObject({
    isDevelopment: false,
    listenAddress: undefined,
    mtls: { listenAddress: "0.0.0.0:50052", clientCaFile: "ca.pem" },
  });
  expect([...config.services]).toEqual([
    ["spiffe://a/gateway", new Set(["verify"])],
    ["spiffe://a/portal?x=y", new Set(["verify", "act-for-users"])],
  ]);
  expect(readConfig({ ...TLS, ...MTLS, LISTEN_ADDRESS: "0.0.0.0:50051" }).listenAddress).toBe("0.0.0.0:50051");
});

test("REDIS_URL names one server, Sentinels or a Cluster, with logins that are percent-encoded", () => {
  const read = (REDIS_URL: string) => readConfig({ REDIS_URL }).redisAddress;
  expect(read("redis://user:p%40ss@host/1")).toEqual({
    kind: "standalone",
    options: { username: "user", password: "p@ss", host: "host", port: 6379, db: 1 },
  });
  expect(
    read("redis+sentinel://user:p%40ss@a:1,b,[::1]:3/my-master/2?sentinel_username=s&sentinel_password=t%26"),
  ).toEqual({
    kind: "sentinel",
    options: {
      username: "user",
      password: "p@ss",
      sentinelUsername: "s",
      sentinelPassword: "t&",
      sentinels: [
        { host: "a", port: 1 },
        { host: "b", port: 26_379 },
        { host: "::1", port: 3 },
      ],
      name: "my-master",
      db: 2,
      failoverDetector: true,
    },
  });
  expect(read("redis+cluster://:pw@a:7000,b/")).toEqual({
    kind: "cluster",
    seeds: [
      { host: "a", port: 7000 },
      { host: "b", port: 6379 },
    ],
    options: { password: "pw" },
  });
  for (const scheme of ["rediss", "rediss+sentinel", "rediss+cluster"]) {
    expect(read(`${scheme}://a:1${scheme === "rediss+sentinel" ? "/m" : ""}`)?.options.tls).toEqual({});
  }
  const masked = describeConfig({ REDIS_URL: "redis+sentinel://user:hunter2@a:1,b:2/m?sentinel_password=hunter2" });
  expect(masked).toContain("REDIS_URL=redis+sentinel://user:***@a:1,b:2/m?sentinel_password=***\n");
});

test("what belongs to TLS of Redis goes together, and with rediss", () => {
  const faults = (env: Record<string, string>) => {
    try {
      readConfig(env);
    } catch (error) {
      return (error as ConfigError).faults;
    }
    return [];
  };
  const file = import.meta.filename;
  expect(faults({ REDIS_URL: "redis://a", REDIS_TLS_CA_FILE: file, REDIS_TLS_KEY_FILE: file })).toEqual([
    "REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE go together",
    "REDIS_TLS_CA_FILE, REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE need a REDIS_URL that begins with rediss",
  ]);
  expect(faults({ REDIS_TLS_CA_FILE: file })).toHaveLength(1);
  expect(faults({ REDIS_TLS_CA: file })).toEqual(["REDIS_TLS_CA is no setting: is it misspelt?"]);
});

test("the description has every setting with its value in force, and no password", () => {
  const env = {
    ...JWT,
    REDIS_URL:
      "rediss+sentinel://user:hunter2@hunter2@redis.example:6379/m/0?sentinel_username=s&sentinel_password=hunter2",
    MAX_TTL: "30d",
  };
  const lines = describeConfig(env).split("\n");
  expect(lines).toContain(
    "REDIS_URL=rediss+sentinel://user:***@redis.example:6379/m/0?sentinel_username=***&sentinel_password=***",
  );
  expect(lines).toContain("MAX_TTL=30d");
  expect(lines.join()).toContain("CreateToken=100 GetToken=500");
  expect(lines).toContain("TOKENS_MAY_MANAGE=self");
  expect(lines).toContain("LISTEN_ADDRESS=127.0.0.1:50051");
  expect(lines.join()).not.toContain("hunter2");
  expect(() => describeConfig({ MAX_TTL: "x" })).toThrow(ConfigError);
});
