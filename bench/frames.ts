// How gRPC puts messages on a stream: one byte that says "not compressed", four with the length, the message.
const HEADER_BYTES = 5;

/** In a message of a load it becomes other digits with each call, so that each creates another token. */
export const FRESH = "############";

let fresh = Date.now() * 1000;

/** The frame itself, or one with other digits than ever before where it has FRESH in it. */
export function freshened(framed: Buffer): Buffer {
  const at = framed.indexOf(FRESH);
  if (at === -1) return framed;
  const copy = Buffer.from(framed);
  fresh += 1;
  copy.write(String(fresh).slice(-FRESH.length), at, "latin1");
  return copy;
}

/** The message as it goes over the wire. */
export function frame(message: Uint8Array): Buffer {
  const framed = Buffer.alloc(HEADER_BYTES + message.length);
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, HEADER_BYTES);
  return framed;
}

/** The frames that lie one behind the other. */
export function splitFrames(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + HEADER_BYTES + bytes.readUInt32BE(at + 1);
    frames.push(bytes.subarray(at, end));
    at = end;
  }
  return frames;
}
