// A server with a wrong, unknown or unsafe setting does not start, and says everything that is wrong at once.
import { expect, test } from "@jest/globals";
import { ConfigError, NOT_YET_SUPPORTED, readConfig } from "../src/config.js";

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
    listenAddress: "127.0.0.1:50051",
    redisUrl: undefined,
    redisServerBin: undefined,
    dataDir: "data",
    durability: "safe",
    allowVolatileRedis: false,
    allowUnverifiedRedis: false,
    tokenPrefix: "apt",
    maxTtlMs: 31_536_000_000,
    maxTokensPerUser: 1000,
    lastUsedResolutionMs: 60_000,
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
  ["REDIS_URL", "unix:///run/redis.sock", "redisUrl", "unix:///run/redis.sock"],
  ["REDIS_URL", "rediss://user:pw@host:6379/0", "redisUrl", "rediss://user:pw@host:6379/0"],
  ["LISTEN_ADDRESS", "[::1]:0", "listenAddress", "[::1]:0"],
  ["DURABILITY", "fast", "durability", "fast"],
  ["ALLOW_VOLATILE_REDIS", "1", "allowVolatileRedis", true],
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
  ["DURABILITY", "SAFE"],
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
])("%s=%s is refused, and the value is not repeated", (name, value) => {
  const [fault = ""] = faults({ [name]: value });
  expect(fault).toMatch(new RegExp(`^${name} must be `));
  if (name === "REDIS_URL") expect(fault).not.toContain(value);
});

test.each(["0.0.0.0:50051", "10.0.0.1:50051", "[::]:50051", "example.com:50051", "127.0.0.1.example.com:1"])(
  "the address %s, which others can reach, is refused while there is no authentication",
  (address) => {
    expect(faults({ LISTEN_ADDRESS: address })).toEqual([
      "LISTEN_ADDRESS must be a loopback address: without authentication nobody else may reach the server",
    ]);
  },
);

test("settings of later versions are refused, never ignored", () => {
  for (const name of NOT_YET_SUPPORTED)
    expect(faults({ [name]: "x" })).toEqual([`${name} is not supported by this version`]);
});

test("all faults come at once", () => {
  const env = { NODE_ENV: "production", LISTEN_ADDRESS: "0.0.0.0:1", MAX_TTL: "x", TLS_KEY_FILE: "x" };
  expect(faults(env).map((fault) => fault.split(/[ =]/)[0])).toEqual([
    "MAX_TTL",
    "TLS_KEY_FILE",
    "LISTEN_ADDRESS",
    "NODE_ENV",
  ]);
  expect(() => readConfig(env)).toThrow(/^apitokend does not start:\n {2}- MAX_TTL .*\n {2}- TLS_KEY_FILE/);
});
