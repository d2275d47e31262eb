// What lies below the floor: the fixed reply of noop-grpc.ts from bare node:http2, with the frames and trailers of gRPC and
// nothing else. Run by servers.ts with the reply in base64.
import { createServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { frame } from "./frames.js";

const [base64 = ""] = process.argv.slice(2);
const reply = frame(Buffer.from(base64, "base64"));
const server = createServer();
server.on("stream", (stream: ServerHttp2Stream) => {
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  // A load that ends resets what is under way.
  stream.on("error", () => {});
  stream.on("end", () => {
    if (stream.destroyed) return;
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.end(reply);
  });
  stream.resume();
});
server.on("sessionError", () => {});
server.listen(0, "127.0.0.1", () => {
  process.stdout.write(`listens on 127.0.0.1:${(server.address() as AddressInfo).port}\n`);
});
