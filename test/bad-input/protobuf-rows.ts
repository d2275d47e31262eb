// Well-framed messages of bytes that are no protobuf, or protobuf that nobody would write.
import { NOT_FOUND } from "../secure-service.js";
import { exchange, type Method, message, rpc, send } from "./grpc.js";
import { CANARY, INVALID_FIELD, MALFORMED, OK, type Row, TOO_LARGE } from "./row.js";

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const GROUP = 3;
const END_GROUP = 4;
const FIXED32 = 5;

const NOT_A_TOKEN = { code: "OK", response: { active: false, reason: 1 } };
const MARK = Buffer.from(CANARY);

/** A varint of any size; negative numbers take ten bytes, as int32 and int64 do. */
function varint(value: bigint | number): Buffer {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Buffer.from([...bytes, Number(rest)]);
}

function tag(field: number, wireType: number): Buffer {
  return varint(field * 8 + wireType);
}

function number(field: number, value: bigint | number): Buffer {
  return Buffer.concat([tag(field, VARINT), varint(value)]);
}

function bytes(field: number, value: string | Uint8Array, length = value.length): Buffer {
  return Buffer.concat([
    tag(field, BYTES),
    varint(length),
    typeof value === "string" ? Buffer.from(value, "latin1") : value,
  ]);
}

/** The same bytes to several RPCs are a row each. */
function rows(name: string, methods: readonly Method[], expected: Row["expected"], ...parts: readonly Buffer[]): Row[] {
  return methods.map((method) => ({
    name: `${name} (${method})`,
    act: (target) => send(target, method, Buffer.concat(parts)),
    expected,
  }));
}

const ALL: readonly Method[] = ["createToken", "getToken", "listTokens", "renewToken", "revokeToken", "verifyToken"];
const NAMED: readonly Method[] = ["createToken", "getToken", "renewToken", "revokeToken"];
const marked = bytes(1, CANARY);
const nested = (depth: number) => [...Array(depth).fill(tag(99, GROUP)), ...Array(depth).fill(tag(99, END_GROUP))];
const duration = (seconds: bigint, nanos: bigint | number = 0) =>
  bytes(3, Buffer.concat([number(1, seconds), number(2, nanos)]));
const renewal = (seconds: bigint, nanos = 0) => bytes(2, Buffer.concat([number(1, seconds), number(2, nanos)]));

export const PROTOBUF_ROWS: readonly Row[] = [
  ...rows("a tag that is cut off", ALL, MALFORMED, Buffer.of(0x80)),
  ...rows("a number that is cut off", ["listTokens"], MALFORMED, tag(1, VARINT), Buffer.of(0xff, 0xff)),
  ...rows("a tag without value", ALL, MALFORMED, tag(1, BYTES)),
  ...rows("a tag of eleven bytes", ALL, MALFORMED, Buffer.alloc(10, 0xff), Buffer.of(1)),
  ...rows("a number of eleven bytes", ["listTokens"], MALFORMED, tag(1, VARINT), Buffer.alloc(10, 0xff), Buffer.of(1)),
  ...rows("a length beyond the end", ALL, MALFORMED, bytes(2, MARK, 1000)),
  ...rows("a length of 2 GiB", ALL, MALFORMED, bytes(2, MARK, 2 ** 31)),
  ...rows("a length that is negative", ALL, MALFORMED, tag(2, BYTES), varint(-1), MARK),
  ...rows("an unknown field beyond the end", ALL, MALFORMED, bytes(77, MARK, 1000)),
  ...rows("four bytes that are three", ALL, MALFORMED, tag(77, FIXED32), Buffer.alloc(3)),
  ...rows("eight bytes that are seven", ALL, MALFORMED, tag(77, FIXED64), Buffer.alloc(7)),
  ...rows("wire type 6", ALL, MALFORMED, tag(1, 6), MARK),
  ...rows("wire type 7", ALL, MALFORMED, tag(1, 7), MARK),
  // ts-proto passes over what no encoder makes but some decoders forgive, as it passes over unknown fields.
  ...rows("field number 0", NAMED, INVALID_FIELD, bytes(0, CANARY)),
  ...rows("field number 0", ["listTokens"], OK, bytes(0, CANARY)),
  ...rows("field number 0", ["verifyToken"], NOT_A_TOKEN, bytes(0, CANARY)),
  ...rows("field number 0 as a lone zero", ["getToken"], NOT_FOUND, marked, Buffer.of(0)),
  ...rows("field number 0 as a lone zero", ["verifyToken"], NOT_A_TOKEN, marked, Buffer.of(0)),
  ...rows("field number 2^29", ["verifyToken"], NOT_A_TOKEN, varint(2n ** 32n + 2n), varint(14), MARK),
  ...rows("an end of a group that never began", ["getToken"], NOT_FOUND, marked, tag(1, END_GROUP)),
  ...rows("an end of a group that never began", ["verifyToken"], NOT_A_TOKEN, marked, tag(1, END_GROUP)),
  ...rows("an end of another group", ["getToken"], NOT_FOUND, marked, tag(98, GROUP), tag(99, END_GROUP)),
  ...rows("an end of another group", ["verifyToken"], NOT_A_TOKEN, marked, tag(98, GROUP), tag(99, END_GROUP)),
  ...rows("a group without end", ALL, MALFORMED, tag(99, GROUP), bytes(1, CANARY)),
  ...rows("groups nested 50 deep", ["verifyToken"], NOT_A_TOKEN, marked, ...nested(50)),
  ...rows("groups nested 200 deep", ["verifyToken"], MALFORMED, marked, ...nested(200)),
  ...rows("groups nested 14,000 deep", ["getToken", "verifyToken"], MALFORMED, marked, ...nested(14_000)),
  ...rows("20,000 beginnings of groups", ALL, MALFORMED, ...Array(20_000).fill(tag(99, GROUP))),
  ...rows("random text", ["createToken", "renewToken"], MALFORMED, Buffer.from(`{"name": "${CANARY}"}`)),

  ...rows("a name that is a number", NAMED, INVALID_FIELD, number(1, 5)),
  ...rows("a name that is eight bytes", NAMED, INVALID_FIELD, tag(1, FIXED64), Buffer.alloc(8)),
  ...rows("a name that is four bytes", NAMED, INVALID_FIELD, tag(1, FIXED32), Buffer.alloc(4)),
  ...rows("a name that is a group", NAMED, INVALID_FIELD, tag(1, GROUP), tag(1, END_GROUP)),
  ...rows("a ttl that is a number", ["createToken"], INVALID_FIELD, number(3, 60)),
  ...rows("a page size that is text", ["listTokens"], OK, bytes(1, CANARY)),
  ...rows("a page token that is a number", ["listTokens"], OK, number(2, 5)),
  ...rows("a token that is a number", ["verifyToken"], NOT_A_TOKEN, number(1, 5)),

  ...rows("UTF-8: a lone continuation", NAMED, INVALID_FIELD, bytes(1, `${CANARY}\x80`)),
  ...rows("UTF-8: an overlong slash", NAMED, INVALID_FIELD, bytes(1, `${CANARY}\xc0\xaf`)),
  ...rows("UTF-8: an overlong NUL", NAMED, INVALID_FIELD, bytes(1, `${CANARY}\xc0\x80`)),
  ...rows("UTF-8: a surrogate", NAMED, INVALID_FIELD, bytes(1, `${CANARY}\xed\xa0\x80`)),
  ...rows("UTF-8: cut off", NAMED, INVALID_FIELD, bytes(1, `${CANARY}\xe2\x82`)),
  ...rows("UTF-8: beyond Unicode", NAMED, INVALID_FIELD, bytes(1, `${CANARY}\xf4\x90\x80\x80`)),
  ...rows("UTF-8: none at all", ["verifyToken"], NOT_A_TOKEN, bytes(1, `${CANARY}\xff\xfe`)),
  ...rows("UTF-8: none at all, as a page token", ["listTokens"], INVALID_FIELD, bytes(2, "\xff\xfe")),

  ...rows("seconds of 2^53 + 1", ["createToken"], INVALID_FIELD, marked, duration(2n ** 53n + 1n)),
  ...rows("the most seconds", ["createToken"], INVALID_FIELD, marked, duration(2n ** 63n - 1n)),
  ...rows("the fewest seconds", ["createToken"], INVALID_FIELD, marked, duration(-(2n ** 63n))),
  ...rows("the most nanos", ["createToken"], INVALID_FIELD, marked, duration(60n, 2 ** 31 - 1)),
  ...rows("the fewest nanos", ["createToken"], INVALID_FIELD, marked, duration(60n, -(2 ** 31))),
  ...rows(
    "nanos of 64 bits that are half a millisecond in 32",
    ["createToken"],
    INVALID_FIELD,
    marked,
    duration(60n, 2n ** 40n + 500_000n),
  ),
  ...rows("a Duration of bytes that are none", ["createToken"], MALFORMED, marked, bytes(3, Buffer.of(0x08))),
  ...rows("a Duration that ends after its parent", ["createToken"], MALFORMED, marked, bytes(3, number(1, 60), 20)),
  ...rows("the most seconds of grace", ["renewToken"], INVALID_FIELD, marked, renewal(2n ** 63n - 1n, 999_999_999)),
  ...rows("the fewest seconds of grace", ["renewToken"], INVALID_FIELD, marked, renewal(-(2n ** 63n))),
  ...rows("two Durations are merged", ["createToken"], INVALID_FIELD, marked, duration(60n), bytes(3, number(2, 1))),
  ...rows("a page size of 2^32 + 5", ["listTokens"], OK, number(1, 2n ** 32n + 5n)),
  ...rows("a page size of 2^31", ["listTokens"], INVALID_FIELD, number(1, 2n ** 31n)),
  ...rows("a page size of 2^32 - 1", ["listTokens"], INVALID_FIELD, number(1, 2n ** 32n - 1n)),
  ...rows(
    "a page size of -1 in five bytes",
    ["listTokens"],
    INVALID_FIELD,
    tag(1, VARINT),
    Buffer.of(0xff, 0xff, 0xff, 0xff, 0x0f),
  ),
  ...rows("a page size of 2^63", ["listTokens"], OK, number(1, 2n ** 63n)),
  ...rows("a number with nine bytes of zeros", ["listTokens"], OK, tag(1, VARINT), Buffer.alloc(9, 0x80), Buffer.of(0)),

  ...rows("an empty message", NAMED, INVALID_FIELD),
  ...rows("an empty message", ["listTokens"], OK),
  ...rows("an empty message", ["verifyToken"], NOT_A_TOKEN),
  ...rows(
    "unknown fields are ignored",
    ["listTokens"],
    OK,
    bytes(99, MARK),
    number(1000, 7),
    tag(536_870_911, FIXED32),
    MARK.subarray(0, 4),
  ),
  ...rows("60 KB of an unknown field", ["listTokens"], OK, bytes(99, CANARY.repeat(4000))),
  {
    name: "a megabyte of an unknown field (listTokens)",
    act: (target) => {
      // The beginning of it, for a window holds 64 KiB; the length says how much would follow.
      const body = message(bytes(99, CANARY.repeat(4000), 1_000_000), { length: 1_000_004 });
      return exchange(target, { body, leaveOpen: true });
    },
    expected: TOO_LARGE,
  },
  ...rows("10,000 unknown fields", ["verifyToken"], NOT_A_TOKEN, ...Array(10_000).fill(number(99, 7))),
  ...rows(
    "a field 1,000 times, the last one counts",
    ["getToken"],
    INVALID_FIELD,
    ...Array(1000).fill(marked),
    bytes(1, " "),
  ),
  ...rows("a field twice, the last one counts", ["getToken"], NOT_FOUND, bytes(1, " "), marked),
  ...["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "then"].flatMap((name): Row[] => [
    { name: `a token called ${name}`, act: (target) => rpc(target, "getToken", { name }), expected: NOT_FOUND },
    {
      name: `a user called ${name}`,
      act: (target) => rpc(target, "getToken", { name: CANARY, userId: name }),
      expected: NOT_FOUND,
    },
    {
      name: `a role called ${name} on no token`,
      act: (target) => rpc(target, "createToken", { name: "", role: name }),
      expected: INVALID_FIELD,
    },
  ]),
];
