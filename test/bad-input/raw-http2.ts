// A HTTP/2 client (RFC 9113) that sends whatever it is told to and believes nothing: frames are written byte for byte,
// in any order, over a socket of the caller's, and what comes back is kept. It never answers by itself (no SETTINGS or
// PING acknowledgement), for that would get between the frames of a test.
import type { Socket } from "node:net";
import { decodeHeaders, encodeHeaders, type Header } from "./hpack.js";

export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export const TYPE = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const FLAG = { END_STREAM: 1, ACK: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 32 } as const;

export const SETTING = { HEADER_TABLE_SIZE: 1, ENABLE_PUSH: 2, INITIAL_WINDOW_SIZE: 4, MAX_FRAME_SIZE: 5 } as const;

const ERROR_NAMES =
  `NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE_ERROR
REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM INADEQUATE_SECURITY HTTP_1_1_REQUIRED`.split(
    /\s+/,
  );

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

/** The bytes of a frame. `length` is what the frame says its payload has, which may be a lie. */
export function frame(type: number, flags: number, streamId: number, payload: Buffer, length = payload.length): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(length & 0xffffff, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

const NOTHING = Buffer.alloc(0);

export function headersFrame(streamId: number, headers: readonly Header[], flags: number = FLAG.END_HEADERS): Buffer {
  return frame(TYPE.HEADERS, flags, streamId, encodeHeaders(headers));
}

/** HEADERS and as many CONTINUATION frames as every server has to take the block in. */
export function headerFrames(streamId: number, headers: readonly Header[]): Buffer[] {
  const block = encodeHeaders(headers);
  const parts = Array.from({ length: Math.ceil(block.length / 16_384) }, (_, i) =>
    block.subarray(i * 16_384, (i + 1) * 16_384),
  );
  return parts.map((part, i) =>
    frame(i === 0 ? TYPE.HEADERS : TYPE.CONTINUATION, i === parts.length - 1 ? FLAG.END_HEADERS : 0, streamId, part),
  );
}

export function dataFrame(streamId: number, payload: Buffer = NOTHING, flags: number = FLAG.END_STREAM): Buffer {
  return frame(TYPE.DATA, flags, streamId, payload);
}

export function settingsFrame(settings: readonly (readonly [id: number, value: number])[] = []): Buffer {
  return frame(TYPE.SETTINGS, 0, 0, Buffer.concat(settings.map(([id, value]) => Buffer.concat([u16(id), u32(value)]))));
}

export function pingFrame(payload = Buffer.alloc(8)): Buffer {
  return frame(TYPE.PING, 0, 0, payload);
}

/** WINDOW_UPDATE, RST_STREAM and others whose payload is one number. */
export function numberFrame(type: number, streamId: number, value: number): Buffer {
  return frame(type, 0, streamId, u32(value));
}

/** What a connection begins with. Without a dynamic table the answers can be read on their own. */
export const OPENING = Buffer.concat([PREFACE, settingsFrame([[SETTING.HEADER_TABLE_SIZE, 0]])]);

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** How a stream ended. A connection counts as closed from a GOAWAY with an error on: Node leaves such a socket open. */
export type StreamEnd =
  | { readonly headers: readonly Header[]; readonly data: Buffer }
  | { readonly closed: "stream" | "connection"; readonly error: string };

const LIMIT_MS = 15_000;

/** A connection over an open socket. */
export class RawHttp2 {
  readonly socket: Socket;
  readonly frames: Frame[] = [];
  #unread: Buffer = NOTHING;
  #isClosed = false;
  readonly #listeners = new Set<() => void>();

  constructor(socket: Socket) {
    this.socket = socket;
    const changed = () => {
      for (const listener of this.#listeners) listener();
    };
    const close = () => {
      this.#isClosed = true;
      changed();
    };
    socket.on("data", (bytes: Buffer) => {
      this.#read(bytes);
      changed();
    });
    // A reset is one of the ways to be refused.
    socket.on("error", close).on("end", close).on("close", close);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Sends bytes as they are. Resolves when they are handed over or the connection is gone. */
  send(...chunks: readonly Buffer[]): Promise<void> {
    return new Promise((resolve) => {
      if (this.#isClosed || !this.socket.writable) resolve();
      else this.socket.write(Buffer.concat(chunks), () => resolve());
    });
  }

  /** The first defined answer of `find`, asked again with each frame; rejects after the limit. */
  until<T>(find: () => T | undefined, limitMs = LIMIT_MS): Promise<T> {
    return new Promise((resolve, reject) => {
      const settle = (end: () => void) => {
        clearTimeout(timer);
        this.#listeners.delete(look);
        end();
      };
      const look = () => {
        try {
          const found = find();
          if (found !== undefined) settle(() => resolve(found));
        } catch (error) {
          settle(() => reject(error));
        }
      };
      const timer = setTimeout(
        () => settle(() => reject(new Error(`nothing within ${limitMs} ms; frames: ${this.#summary()}`))),
        limitMs,
      );
      this.#listeners.add(look);
      look();
    });
  }

  /** Waits until the server has ended the stream or the connection. */
  end(streamId: number, limitMs = LIMIT_MS): Promise<StreamEnd> {
    return this.until(() => this.endSoFar(streamId), limitMs);
  }

  /** How the stream has ended; undefined while it has not. */
  endSoFar(streamId: number): StreamEnd | undefined {
    const own = this.frames.filter((received) => received.streamId === streamId);
    const last = own.findIndex(({ type, flags }) => type <= TYPE.HEADERS && (flags & FLAG.END_STREAM) !== 0);
    if (last >= 0) {
      const data = own.filter(({ type }) => type === TYPE.DATA).map(({ payload }) => payload);
      return { headers: headersOf(own), data: Buffer.concat(data) };
    }
    const reset = own.find(({ type }) => type === TYPE.RST_STREAM);
    if (reset) return { closed: "stream", error: errorName(reset.payload, 0) };
    return this.connectionEnd();
  }

  /** How the connection has ended; undefined while it has not. */
  connectionEnd(): { closed: "connection"; error: string } | undefined {
    const goaway = this.frames.findLast(({ type }) => type === TYPE.GOAWAY);
    const error = goaway === undefined ? "" : errorName(goaway.payload, 4);
    const isRefused = error !== "" && error !== "NO_ERROR";
    return this.#isClosed || isRefused ? { closed: "connection", error } : undefined;
  }

  #read(bytes: Buffer): void {
    this.#unread = this.#unread.length === 0 ? bytes : Buffer.concat([this.#unread, bytes]);
    while (this.#unread.length >= 9) {
      const end = 9 + this.#unread.readUIntBE(0, 3);
      if (this.#unread.length < end) return;
      const [type, flags] = [this.#unread.readUInt8(3), this.#unread.readUInt8(4)];
      this.frames.push({ type, flags, streamId: this.#unread.readUInt32BE(5), payload: this.#unread.subarray(9, end) });
      this.#unread = this.#unread.subarray(end);
    }
  }

  #summary(): string {
    const names = Object.keys(TYPE);
    return this.frames.map(({ type, streamId }) => `${names[type] ?? type}(${streamId})`).join(" ") || "none";
  }
}

/** Headers and trailers in one list; later values come last. A server of ours sends no padding and no priority. */
function headersOf(frames: readonly Frame[]): Header[] {
  const blocks: Buffer[][] = [];
  for (const { type, payload } of frames) {
    if (type === TYPE.HEADERS) blocks.push([payload]);
    else if (type === TYPE.CONTINUATION) blocks.at(-1)?.push(payload);
  }
  return blocks.flatMap((parts) => decodeHeaders(Buffer.concat(parts)));
}

function errorName(payload: Buffer, at: number): string {
  const code = payload.readUInt32BE(at);
  return ERROR_NAMES[code] ?? String(code);
}
