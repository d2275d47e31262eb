// oidc-provider's token introspection (RFC 7662) over Redis, as lean as it can be set up: opaque access tokens, one GET for
// each, no grants to look up, its one client in memory. Plain JavaScript, for its packages are none of this project's.
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { Redis } from "ioredis";
import { Provider } from "oidc-provider";

const [socketPath] = process.argv.slice(2);
const redis = new Redis(socketPath, { enableAutoPipelining: true });
const secret = randomBytes(32).toString("base64url");
const client = {
  client_id: "gateway",
  client_secret: secret,
  grant_types: [],
  response_types: [],
  redirect_uris: [],
  token_endpoint_auth_method: "client_secret_basic",
};

class RedisAdapter {
  constructor(model) {
    this.prefix = `oidc:${model}:`;
  }

  async upsert(id, payload, ttlSeconds) {
    await redis.set(this.prefix + id, JSON.stringify(payload), "EX", ttlSeconds);
  }

  async find(id) {
    const text = await redis.get(this.prefix + id);
    return text === null ? undefined : JSON.parse(text);
  }

  async destroy(id) {
    await redis.del(this.prefix + id);
  }
}

const provider = new Provider("http://127.0.0.1", {
  adapter: RedisAdapter,
  clients: [client],
  cookies: { keys: [randomBytes(32).toString("base64url")] },
  features: {
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: () => true },
  },
  ttl: { AccessToken: 90 * 86_400 },
});
provider.on("server_error", (_ctx, error) => console.error(error));

const accessToken = new provider.AccessToken({
  accountId: "user-00000000001",
  client: await provider.Client.find(client.client_id),
  scope: "read",
});
const question = {
  path: "/token/introspection",
  headers: {
    authorization: `Basic ${Buffer.from(`${client.client_id}:${secret}`).toString("base64")}`,
    "content-type": "application/x-www-form-urlencoded",
  },
  body: `token=${await accessToken.save()}&token_type_hint=access_token`,
};

const answer = provider.callback();
const server = createServer((request, response) => {
  if (request.url === "/question") response.end(JSON.stringify(question));
  else answer(request, response);
});
server.listen(0, "127.0.0.1", () => console.log(`listens on 127.0.0.1:${server.address().port}`));
