// A process that owns a private Redis, for tests that kill it. Arguments: the redis-server as JSON, the data folder.
// Prints the socket path when Redis answers, or the error, one line of JSON.
import { pino } from "pino";
import { startPrivateRedis } from "../../../src/redis/private/private-redis.js";
import type { RedisServer } from "../../../src/redis/private/redis-server.js";

const [server = "", dataDir = ""] = process.argv.slice(2);
try {
  const redis = await startPrivateRedis({
    server: JSON.parse(server) as RedisServer,
    dataDir,
    appendFsync: "everysec",
    log: pino({ level: "silent" }),
  });
  process.stdout.write(`${JSON.stringify({ socketPath: redis.socketPath })}\n`);
  process.once("SIGTERM", () => void redis.stop());
} catch (error) {
  process.stdout.write(`${JSON.stringify({ error: String(error) })}\n`);
}
