// Asks a server once, with a real client, before it is timed: a wrong answer would be a cheap one.
import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { frame, freshened, splitFrames } from "./frames.js";
import type { Load } from "./load.js";

const LIMIT_MS = 10_000;
/** Replies may differ by so much, for numbers and times have other lengths. */
const TOLERANCE = 0.02;

/** The reply's message or body; rejects with the status of a call that is refused. */
export async function ask(load: Load, address: string): Promise<Buffer> {
  if (load.kind === "http1") {
    const { path, headers, body } = load;
    const response = await fetch(`http://${address}${path}`, { method: "POST", headers, body: new Uint8Array(body) });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    return Buffer.from(await response.arrayBuffer());
  }
  const asked = load.kind === "many" ? load.frames[0] : load.frame;
  const [framed = Buffer.alloc(0)] = splitFrames(asked ?? Buffer.alloc(0));
  const client = new Client(address, credentials.createInsecure());
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(load.headers)) metadata.set(name, value);
  const same = (message: Buffer) => message;
  try {
    return await new Promise((resolve, reject) => {
      const message = freshened(framed).subarray(frame(Buffer.alloc(0)).length);
      const onReply = (error: ServiceError | null, reply?: Buffer) =>
        error === null ? resolve(reply ?? Buffer.alloc(0)) : reject(error);
      client.makeUnaryRequest(load.path, same, same, message, metadata, { deadline: Date.now() + LIMIT_MS }, onReply);
    });
  } finally {
    client.close();
  }
}

/** Throws when replies were of another size than the one that was checked, as those of errors are. */
export function checkBytes(title: string, load: Load, reply: Buffer, total: { calls: number; bytes: number }): void {
  const expected = load.kind === "http1" ? reply.length : frame(reply).length;
  // As many as were under way may have been cut off in the middle.
  const allowed = load.underWay + TOLERANCE * total.calls;
  if (Math.abs(total.bytes / expected - total.calls) > allowed)
    throw new Error(
      `${title}: ${total.bytes} bytes in ${total.calls} replies, ${expected} in the one that was checked`,
    );
}
