// Finds calls and their answers in what gRPC sends, for the proxy: their texts are compressed, but frames are not.

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER_BYTES = 9;
const HEADERS = 1;

/**
 * Whether a call starts in these bytes of a client, or its answer in these of a server; settings, window updates and
 * pings do not count. The bytes must begin with a frame, as they do when each side sends little at once.
 */
export function hasHeaders(bytes: Buffer): boolean {
  let at = bytes.toString("latin1", 0, PREFACE.length) === PREFACE ? PREFACE.length : 0;
  for (; at + FRAME_HEADER_BYTES <= bytes.length; at += FRAME_HEADER_BYTES + bytes.readUIntBE(at, 3)) {
    if (bytes[at + 3] === HEADERS) return true;
  }
  return false;
}
