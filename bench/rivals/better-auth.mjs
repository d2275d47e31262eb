// better-auth's verifyApiKey over Redis, as fast as it can be set up: keys in Redis alone, no rate limit, what it writes with
// each verification deferred. It is an API for servers only, so the server is the smallest that passes it on. Plain
// JavaScript, for its packages are none of this project's.
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { apiKey } from "@better-auth/api-key";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { Redis } from "ioredis";

const [socketPath] = process.argv.slice(2);
const redis = new Redis(socketPath, { enableAutoPipelining: true });

const storage = {
  get: (key) => redis.get(`better-auth:${key}`),
  set: (key, value, ttlSeconds) =>
    ttlSeconds ? redis.set(`better-auth:${key}`, value, "EX", ttlSeconds) : redis.set(`better-auth:${key}`, value),
  delete: (key) => redis.del(`better-auth:${key}`),
};

const auth = betterAuth({
  baseURL: "http://127.0.0.1",
  secret: randomBytes(32).toString("base64url"),
  database: memoryAdapter({ user: [], session: [], account: [], verification: [], apikey: [] }),
  logger: { disabled: true },
  telemetry: { enabled: false },
  rateLimit: { enabled: false },
  advanced: { backgroundTasks: { handler: (task) => void task.catch(() => {}) } },
  plugins: [
    apiKey({
      storage: "secondary-storage",
      customStorage: storage,
      deferUpdates: true,
      rateLimit: { enabled: false },
    }),
  ],
});
const { key } = await auth.api.createApiKey({
  body: { name: "token-0000000001", userId: "user-00000000001", expiresIn: 90 * 86_400, rateLimitEnabled: false },
});

const question = {
  path: "/verify",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ key }),
};
const server = createServer((request, response) => {
  if (request.url === "/question") {
    response.end(JSON.stringify(question));
    return;
  }
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    auth.api.verifyApiKey({ body: JSON.parse(Buffer.concat(chunks).toString()) }).then(
      (answer) => response.setHeader("content-type", "application/json").end(JSON.stringify(answer)),
      (error) => response.writeHead(500).end(String(error)),
    );
  });
});
server.listen(0, "127.0.0.1", () => console.log(`listens on 127.0.0.1:${server.address().port}`));
