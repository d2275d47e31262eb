// Two `authorization` headers in one call. No client library sends them, so that the frames are written by hand (RFC 9113
// and, without compression, RFC 7541); what the server made of them is in its log.
import { once } from "node:events";
import { connect } from "node:tls";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { eventually } from "../harness.js";
import { type LogLine, type SecureService, startSecureService } from "../secure-service.js";

const PATH = "/apitoken.v1.ApiTokenService/ListTokens";

let service: SecureService;
beforeAll(async () => {
  service = await startSecureService();
});
afterAll(() => service.stop());

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header.writeUInt8(type, 3);
  header.writeUInt8(flags, 4);
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** RFC 7541, sections 5.1 and 5.2, without Huffman's code. */
function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const length = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128);
  return Buffer.concat([Buffer.from([...length, rest]), bytes]);
}

/** RFC 7541, section 6.2.2. */
function field(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0]), text(name), text(value)]);
}

/** What the log says of a ListTokens call with exactly these headers. */
async function call(headers: readonly (readonly [name: string, value: string])[]): Promise<LogLine> {
  const lines = () => service.log().filter(({ method }) => method === PATH);
  const before = lines().length;
  const [host = "", port = ""] = service.bearerAddress.split(":");
  const socket = connect({
    host,
    port: Number(port),
    ca: service.serverAuthority.certificatePem,
    ALPNProtocols: ["h2"],
  });
  await once(socket, "secureConnect");
  const block = [
    [":method", "POST"],
    [":scheme", "https"],
    [":path", PATH],
    [":authority", service.bearerAddress],
    ["content-type", "application/grpc"],
    ["te", "trailers"],
    ...headers,
  ].map(([name = "", value = ""]) => field(name, value));
  socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  socket.write(frame(0x4, 0, 0, Buffer.alloc(0)));
  socket.write(frame(0x1, 0x4, 1, Buffer.concat(block)));
  socket.write(frame(0x0, 0x1, 1, Buffer.alloc(5)));
  try {
    return await eventually(() => {
      const [line] = lines().slice(before);
      if (line === undefined) throw new Error("the server has not answered");
      return line;
    });
  } finally {
    socket.destroy();
  }
}

const authorization = async (sub: string) => ["authorization", `Bearer ${await service.issuer.sign({ sub })}`] as const;

test("one authorization header is the caller's, and none is nobody's", async () => {
  expect(await call([await authorization("alice")])).toMatchObject({ status: "OK", caller: "user:alice" });
  expect(await call([])).toMatchObject({ status: "UNAUTHENTICATED", cause: "there is no credential" });
});

test("a good authorization header after a bad one does not count", async () => {
  expect(await call([["authorization", "Bearer x.y.z"], await authorization("alice")])).toMatchObject({
    status: "UNAUTHENTICATED",
  });
});

// DEFECT: Node keeps only the first `authorization` of several, so that src/auth/metadata.ts never sees a second one.
// The server has to look at the raw headers. Once it does, this test fails: make it a plain one.
test.failing("of two authorization headers neither counts", async () => {
  const good = await authorization("alice");
  const doubled = { status: "UNAUTHENTICATED", cause: "authorization is doubled" };
  for (const other of [["authorization", "Bearer x.y.z"] as const, await authorization("mallory"), good]) {
    expect(await call([good, other])).toMatchObject(doubled);
  }
});
