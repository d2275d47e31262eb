// The little of HPACK (RFC 7541) that a hostile client needs: it writes every header as a literal, whatever its bytes,
// and reads what a server sends to a peer that allows it no dynamic table.

/** A header as it is sent: any bytes, each character one byte. */
export type Header = readonly [name: string, value: string];

/** Literals without indexing and without Huffman codes, so that nothing is refused or changed on the way. */
export function encodeHeaders(headers: readonly Header[]): Buffer {
  return Buffer.concat(headers.flatMap(([name, value]) => [Buffer.of(0), ...literal(name), ...literal(value)]));
}

function literal(text: string): [Buffer, Buffer] {
  const bytes = Buffer.from(text, "latin1");
  return [encodeInteger(bytes.length, 7), bytes];
}

/** RFC 7541 section 5.1; the bits above the prefix are `flags`. */
export function encodeInteger(value: number, prefixBits: number, flags = 0): Buffer {
  const most = 2 ** prefixBits - 1;
  if (value < most) return Buffer.of(flags | value);
  const bytes = [flags | most];
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

/** What refers to a dynamic table, which a connection may have been damaged into allowing, is `unreadable`. */
export function decodeHeaders(block: Buffer): Header[] {
  const headers: Header[] = [];
  let at = 0;

  function integer(prefixBits: number): number {
    const most = 2 ** prefixBits - 1;
    let value = byte() & most;
    if (value < most) return value;
    for (let shift = 0; ; shift += 7) {
      const next = byte();
      value += (next & 127) * 2 ** shift;
      if (next < 128) return value;
    }
  }
  function byte(): number {
    const value = block[at];
    if (value === undefined) throw new Error("the header block ends too early");
    at += 1;
    return value;
  }
  function text(): string {
    const isHuffman = ((block[at] ?? 0) & 128) !== 0;
    const length = integer(7);
    const bytes = block.subarray(at, at + length);
    at += length;
    return isHuffman ? decodeHuffman(bytes) : bytes.toString("latin1");
  }
  function indexed(index: number): Header {
    const [name = "", value = ""] = (STATIC_TABLE[index - 1] ?? "unreadable").split("=");
    return [name, value];
  }

  while (at < block.length) {
    const first = block[at] ?? 0;
    if (first >= 128) headers.push(indexed(integer(7)));
    else if (first >= 32 && first < 64) integer(5);
    else {
      const index = integer(first >= 64 ? 6 : 4);
      const name = index === 0 ? text() : indexed(index)[0];
      headers.push([name, text()]);
    }
  }
  return headers;
}

/** The Huffman code is canonical, so the characters of each code length say it all. Those of 19 bits and more are rare. */
const HUFFMAN: Readonly<Record<number, string>> = {
  5: "012aceiost",
  6: " %-./3456789=A_bdfghlmnpru",
  7: ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
  8: "&*,;XZ",
  10: '!"()?',
  11: "'+|",
  12: "#>",
  13: "\0$@[]~",
  14: "^}",
  15: "<`{",
};

function decodeHuffman(bytes: Buffer): string {
  let text = "";
  let [code, length, firstCode] = [0, 0, 0];
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    code = code * 2 + (((bytes[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1);
    length += 1;
    firstCode *= 2;
    const characters = HUFFMAN[length] ?? "";
    const found = characters[code - firstCode];
    firstCode += characters.length;
    if (found === undefined) continue;
    text += found;
    [code, length, firstCode] = [0, 0, 0];
  }
  // Longer than any padding: a character that is not in the table, and all that follows.
  return length > 7 ? `${text}\ufffd` : text;
}

// RFC 7541 appendix A.
const STATIC_TABLE =
  `:authority :method=GET :method=POST :path=/ :path=/index.html :scheme=http :scheme=https :status=200
:status=204 :status=206 :status=304 :status=400 :status=404 :status=500 accept-charset accept-encoding=gzip,deflate
accept-language accept-ranges accept access-control-allow-origin age allow authorization cache-control
content-disposition content-encoding content-language content-length content-location content-range content-type cookie
date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified
link location max-forwards proxy-authenticate proxy-authorization range referer refresh retry-after server set-cookie
strict-transport-security transfer-encoding user-agent vary via www-authenticate`.split(/\s+/);
