// The configuration: environment variables, all read and checked here and nowhere else. A server that would start with
// a wrong, unknown or unsafe setting does not start, and says everything that is wrong at once.

/** What the server runs with. */
export interface Config {
  readonly listenAddress: string;
  /** undefined = the private Redis. */
  readonly redisUrl: string | undefined;
  readonly redisServerBin: string | undefined;
  readonly dataDir: string;
  readonly durability: "safe" | "fast";
  readonly allowVolatileRedis: boolean;
  readonly allowUnverifiedRedis: boolean;
  readonly tokenPrefix: string;
  readonly maxTtlMs: number;
  readonly maxTokensPerUser: number;
  readonly lastUsedResolutionMs: number;
  readonly logLevel: (typeof LOG_LEVELS)[number];
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

const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "silent"] as const;
const DAY_MS = 86_400_000;

/** Part of the design but not of this version: setting one is an error, for ignoring it could be unsafe. */
export const NOT_YET_SUPPORTED = [
  "MTLS_LISTEN_ADDRESS",
  "TLS_CERT_FILE",
  "TLS_KEY_FILE",
  "TLS_CLIENT_CA_FILE",
  "JWT_ISSUER",
  "JWT_AUDIENCE",
  "JWT_JWKS_URL",
  "JWT_JWKS_FILE",
  "EVENT_RETENTION",
  "TOKENS_MAY_MANAGE",
  "WORKERS",
  "METRICS_ADDRESS",
] as const;

/** Reads the configuration; throws ConfigError with every fault. An empty variable counts as unset. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const faults: string[] = [];

  /** The parsed value of a variable; `undefined` from `parse` is a fault. Values are not repeated: one is a password. */
  function read<T>(name: string, fallback: T, rule: string, parse: (text: string) => T | undefined): T {
    const text = env[name];
    if (text === undefined || text === "") return fallback;
    const value = parse(text);
    if (value !== undefined) return value;
    faults.push(`${name} must be ${rule}`);
    return fallback;
  }

  const flag = (name: string) =>
    read(name, false, "0 or 1", (text) => (/^[01]$/.test(text) ? text === "1" : undefined));
  const text = (name: string) => read<string | undefined>(name, undefined, "text", (value) => value);

  const config: Config = {
    listenAddress: read("LISTEN_ADDRESS", DEFAULT_LISTEN_ADDRESS, "host:port", (value) => {
      const [, port] = /^(?:[\w.-]+|\[[\da-f:]+\]):(\d{1,5})$/i.exec(value) ?? [];
      return port !== undefined && Number(port) < 65_536 ? value : undefined;
    }),
    redisUrl: read<string | undefined>("REDIS_URL", undefined, "redis://, rediss:// or unix:///path", (value) =>
      /^(?:rediss?:\/\/.|unix:\/\/\/.)/.test(value) && URL.canParse(value) ? value : undefined,
    ),
    redisServerBin: text("REDIS_SERVER_BIN"),
    dataDir: text("DATA_DIR") ?? "data",
    durability: read("DURABILITY", "safe", "safe or fast", (value) => oneOf(["safe", "fast"], value)),
    allowVolatileRedis: flag("ALLOW_VOLATILE_REDIS"),
    allowUnverifiedRedis: flag("ALLOW_UNVERIFIED_REDIS"),
    tokenPrefix: read("TOKEN_PREFIX", "apt", "2 to 12 lower-case letters or digits", (value) =>
      /^[a-z0-9]{2,12}$/.test(value) ? value : undefined,
    ),
    maxTtlMs: read("MAX_TTL", 365 * DAY_MS, "from 1m to 36500d, such as 365d", (value) =>
      duration(value, 60_000, 36_500 * DAY_MS),
    ),
    maxTokensPerUser: read("MAX_TOKENS_PER_USER", 1000, "a whole number from 1 to 1000000", (value) =>
      /^[1-9]\d{0,6}$/.test(value) && Number(value) <= 1_000_000 ? Number(value) : undefined,
    ),
    lastUsedResolutionMs: read("LAST_USED_RESOLUTION", 60_000, "from 1s to 1d, such as 60s", (value) =>
      duration(value, 1000, DAY_MS),
    ),
    logLevel: read("LOG_LEVEL", "info", `one of ${LOG_LEVELS.join(", ")}`, (value) => oneOf(LOG_LEVELS, value)),
  };

  for (const name of NOT_YET_SUPPORTED) {
    if (env[name]) faults.push(`${name} is not supported by this version`);
  }
  // Authentication does not exist yet, so only development mode does.
  if (!isLoopback(config.listenAddress)) {
    faults.push("LISTEN_ADDRESS must be a loopback address: without authentication nobody else may reach the server");
  }
  if (env["NODE_ENV"] === "production") {
    faults.push("NODE_ENV=production needs authentication and TLS, which this version does not have");
  }
  if (faults.length > 0) throw new ConfigError(faults);
  return config;
}

function oneOf<const T extends string>(words: readonly T[], value: string): T | undefined {
  return words.find((word) => word === value);
}

/** Milliseconds of `90d`, `24h`, `30m`, `60s` or `500ms` within the bounds. */
function duration(value: string, minMs: number, maxMs: number): number | undefined {
  const [, amount = "", unit = ""] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(value) ?? [];
  const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: DAY_MS }[unit];
  if (unitMs === undefined) return undefined;
  const ms = Number(amount) * unitMs;
  return ms >= minMs && ms <= maxMs ? ms : undefined;
}

function isLoopback(address: string): boolean {
  return /^(?:127\.\d+\.\d+\.\d+|localhost|\[::1\]):\d+$/.test(address);
}
