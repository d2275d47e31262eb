// What lies below the floor: the fixed reply of noop-grpc.ts from bare node:http2, with the frames and trailers of gRPC and
// nothing else. Run by servers.ts with the reply in base64; with Redis's socket and the key of a token, too, it reads that
// token before each reply as our server does: what no server on Node that asks Redis goes below.
import { createServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { Redis } from "ioredis";
import { readFields } from "../src/redis/commands.js";
import { Master } from "../src/redis/master.js";
import { frame } from "./frames.js";

const [base64 = "", socketPath, key = ""] = process.argv.slice(2);
const reply = frame(Buffer.from(base64, "base64"));
const master = socketPath === undefined ? undefined : new Master(new Redis(socketPath));
await master?.redis.ping();
/** As our server's answers: src/grpc/unary-call.ts. */
const WITHOUT_DATE = { waitForTrailers: true, sendDate: false };
const server = createServer();
server.on("stream", (stream: ServerHttp2Stream) => {
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  // A load that ends resets what is under way.
  stream.on("error", () => {});
  const respond = () => {
    if (stream.destroyed) return;
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, WITHOUT_DATE);
    stream.end(reply);
  };
  stream.on("end", () => {
    if (master === undefined) respond();
    else void master.run(0, key, (redis) => readFields(redis, key)).then(respond);
  });
  stream.resume();
});
server.on("sessionError", () => {});
server.listen(0, "127.0.0.1", () => {
  process.stdout.write(`listens on 127.0.0.1:${(server.address() as AddressInfo).port}\n`);
});
