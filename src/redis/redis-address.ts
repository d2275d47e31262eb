// Where Redis is, as REDIS_URL says it: one server, a master that Sentinels name, or a Cluster.
import type { RedisOptions } from "ioredis";

/** What to connect to, with which credentials, and which database. */
export type RedisAddress =
  | { readonly kind: "standalone" | "sentinel"; readonly options: RedisOptions }
  | { readonly kind: "cluster"; readonly seeds: readonly Endpoint[]; readonly options: RedisOptions };

/** PEM texts for rediss:// beyond the authorities that Node trusts; a certificate only where Redis asks for one. */
export interface RedisTls {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** For whoever has to write one. */
export const REDIS_URL_FORMS =
  "redis://host:port, unix:///path, redis+sentinel://host:port,host:port/master or redis+cluster://host:port,host:port; rediss for TLS";

/** Reads a REDIS_URL; undefined when it is none. Nothing in it is ignored. */
export function readRedisUrl(text: string, tls: RedisTls): RedisAddress | undefined {
  const [, scheme, topology, rest = ""] = /^(rediss?|unix)(?:\+(sentinel|cluster))?:\/\/(.+)$/s.exec(text) ?? [];
  if (scheme === undefined) return undefined;
  if (scheme === "unix") {
    const isPath = topology === undefined && rest.startsWith("/") && rest.length > 1;
    return isPath ? { kind: "standalone", options: { path: rest } } : undefined;
  }
  const secured: RedisOptions = scheme === "rediss" ? { tls } : {};
  try {
    if (topology === "sentinel") return readSentinel(rest, secured);
    return topology === "cluster" ? readCluster(rest, secured) : readStandalone(rest, secured);
  } catch {
    // Its percent-encoding is none.
    return undefined;
  }
}

/** `[user:password@]host[:port][/database]` */
function readStandalone(rest: string, secured: RedisOptions): RedisAddress | undefined {
  const [, login, host = "", database = "0"] = /^(?:(.*)@)?([^@/?,]+)(?:\/(\d{1,3})?)?$/s.exec(rest) ?? [];
  const [endpoint] = readEndpoints(host, 6379) ?? [];
  if (endpoint === undefined) return undefined;
  return { kind: "standalone", options: { ...secured, ...readLogin(login), ...endpoint, db: Number(database) } };
}

/** `[user:password@]host:port,.../master[/database][?sentinel_username=u&sentinel_password=p]`; see docs/redis.md. */
function readSentinel(rest: string, secured: RedisOptions): RedisAddress | undefined {
  const [, login, hosts = "", name = "", database = "0", query] =
    /^(?:(.*)@)?([^@/?]+)\/([^/?]+)(?:\/(\d{1,3}))?(?:\?(.*))?$/s.exec(rest) ?? [];
  const sentinels = readEndpoints(hosts, 26_379);
  const parameters = new URLSearchParams(query);
  const isKnown = [...parameters.keys()].every((key) => key === "sentinel_username" || key === "sentinel_password");
  if (sentinels === undefined || !isKnown) return undefined;
  const sentinelUsername = parameters.get("sentinel_username");
  const sentinelPassword = parameters.get("sentinel_password");
  return {
    kind: "sentinel",
    options: {
      ...secured,
      ...readLogin(login),
      ...(secured.tls && { enableTLSForSentinelMode: true, sentinelTLS: secured.tls }),
      ...(sentinelUsername !== null && { sentinelUsername }),
      ...(sentinelPassword !== null && { sentinelPassword }),
      sentinels: [...sentinels],
      name: decodeURIComponent(name),
      db: Number(database),
      // Told by any Sentinel, the connection leaves a master that was replaced at once.
      failoverDetector: true,
    },
  };
}

/** `[user:password@]host:port,...` of some of the nodes; they tell the others. */
function readCluster(rest: string, secured: RedisOptions): RedisAddress | undefined {
  const [, login, hosts = ""] = /^(?:(.*)@)?([^@/?]+)\/?$/s.exec(rest) ?? [];
  const seeds = readEndpoints(hosts, 6379);
  return seeds && { kind: "cluster", seeds, options: { ...secured, ...readLogin(login) } };
}

function readEndpoints(text: string, defaultPort: number): readonly Endpoint[] | undefined {
  const endpoints = text.split(",").map((part) => {
    const [, bracketed, plain, port] = /^(?:\[([\da-f:]+)\]|([\w.-]+))(?::(\d{1,5}))?$/i.exec(part) ?? [];
    return { host: bracketed ?? plain ?? "", port: Number(port ?? defaultPort) };
  });
  const isUsable = endpoints.every(({ host, port }) => host !== "" && port > 0 && port < 65_536);
  return isUsable ? endpoints : undefined;
}

/** `user:password`, `:password` or `user`. Throws URIError when it is not percent-encoded. */
function readLogin(text = ""): Pick<RedisOptions, "username" | "password"> {
  const at = text.indexOf(":");
  const username = decodeURIComponent(at < 0 ? text : text.slice(0, at));
  const password = at < 0 ? "" : decodeURIComponent(text.slice(at + 1));
  return { ...(username !== "" && { username }), ...(password !== "" && { password }) };
}
