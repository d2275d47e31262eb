// traceparent: what W3C Trace Context lets pass goes into every log line of the call, and anything else nowhere.
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { TokenVerificationServiceService as Verification } from "../../gen/apitoken/v1/token_verification_service.js";
import { traceContextOf } from "../../src/grpc/trace-context.js";
import { eventually, startRedis } from "../harness.js";
import { type ServerProcess, startServerProcess } from "../server-process.js";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "00f067aa0ba902b7";
const CONTEXT = { trace_id: TRACE, span_id: SPAN, trace_flags: "01" };

function parse(...headers: readonly string[]) {
  // As node:http2 puts several together.
  return traceContextOf({ traceparent: headers.join(", ") });
}

test.each([
  ["version 00", `00-${TRACE}-${SPAN}-01`],
  ["a later version", `cc-${TRACE}-${SPAN}-01`],
  ["a later version with more in it", `cc-${TRACE}-${SPAN}-01-what-the-future-will-be`],
])("%s is understood", (_name, header) => expect(parse(header)).toEqual(CONTEXT));

test("flags that are not known yet are told as they are", () => {
  expect(parse(`00-${TRACE}-${SPAN}-fe`)).toEqual({ ...CONTEXT, trace_flags: "fe" });
});

const BAD: readonly (readonly [name: string, header: string])[] = [
  ["nothing", ""],
  ["a word", "secret"],
  ["the version ff", `ff-${TRACE}-${SPAN}-01`],
  ["a version that is not hexadecimal", `.0-${TRACE}-${SPAN}-01`],
  ["a short version", `0-${TRACE}-${SPAN}-01`],
  ["a trace id of zeros", `00-${"0".repeat(32)}-${SPAN}-01`],
  ["a span id of zeros", `00-${TRACE}-${"0".repeat(16)}-01`],
  ["capital letters", `00-${TRACE.toUpperCase()}-${SPAN}-01`],
  ["a short trace id", `00-${TRACE.slice(1)}-${SPAN}-01`],
  ["a long trace id", `00-${TRACE}0-${SPAN}-01`],
  ["a short span id", `00-${TRACE}-${SPAN.slice(1)}-01`],
  ["no flags", `00-${TRACE}-${SPAN}-`],
  ["flags that are not hexadecimal", `00-${TRACE}-${SPAN}-0.`],
  ["more than version 00 has", `00-${TRACE}-${SPAN}-01-more`],
  ["a dash at the end of version 00", `00-${TRACE}-${SPAN}-01-`],
  ["more of a later version without a dash", `cc-${TRACE}-${SPAN}-01.more`],
  ["other separators", `00_${TRACE}_${SPAN}_01`],
  ["something before it", ` 00-${TRACE}-${SPAN}-01`],
  ["a line feed after it", `00-${TRACE}-${SPAN}-01\n`],
];

test.each(BAD.filter(([name]) => !name.includes("line feed")))("%s is ignored", (_name, header) =>
  expect(parse(header)).toBeUndefined(),
);

test.each(["00", "cc"])("two of version %s are ignored", (version) => {
  const one = `${version}-${TRACE}-${SPAN}-01`;
  expect(parse(one, one)).toBeUndefined();
  expect(parse(`${one}-more`, one)).toBeUndefined();
});

let redis: Awaited<ReturnType<typeof startRedis>>;
let server: ServerProcess;
let client: Client;
beforeAll(async () => {
  redis = await startRedis();
  server = startServerProcess({ REDIS_URL: `unix://${redis.socketPath}`, LOG_LEVEL: "debug" });
  client = new Client(await server.listening(), credentials.createInsecure());
});
afterAll(async () => {
  client.close();
  await server.stop("SIGTERM");
  await redis.stop();
});

const verify = Verification.verifyToken.path;

/** Calls with these headers and gives the log line of the call. */
async function lineOf(
  headers: Readonly<Record<string, string>>,
  path: string = verify,
  request = Buffer.from("0a0131", "hex"),
) {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  const before = lines().length;
  const pass = (bytes: Buffer) => bytes;
  await new Promise<void>((done) => {
    client.makeUnaryRequest(path, pass, pass, request, metadata, () => done());
  });
  return eventually(() => {
    const [line, ...others] = lines().slice(before);
    if (line === undefined) throw new Error("no line yet");
    expect(others).toEqual([]);
    return line;
  });
}

const lines = () => server.log().filter((line) => line.method !== undefined);

test("every log line of a call names the trace that it belongs to, whoever refuses it", async () => {
  const traceparent = `00-${TRACE}-${SPAN}-01`;
  expect(await lineOf({ traceparent })).toMatchObject({ ...CONTEXT, status: "OK", msg: "call" });
  expect(await lineOf({ traceparent, "x-user-id": "x".repeat(300) })).toMatchObject({
    ...CONTEXT,
    status: "UNAUTHENTICATED",
  });
  expect(await lineOf({ traceparent }, "/no.Such/Method")).toMatchObject({ ...CONTEXT, status: "UNIMPLEMENTED" });
  const broken = Buffer.from("0aff", "hex");
  expect(await lineOf({ traceparent }, verify, broken)).toMatchObject({ ...CONTEXT, status: "INVALID_ARGUMENT" });
  const stream = "/grpc.health.v1.Health/Watch";
  expect(await lineOf({ traceparent }, stream, broken)).toMatchObject({ ...CONTEXT, status: "INVALID_ARGUMENT" });
});

test("without one, or with a bad one, the line has none, and the call is served", async () => {
  const bad = `00-${TRACE}-${SPAN}-01-secret`;
  for (const headers of [{}, { traceparent: bad }]) {
    const line = await lineOf(headers);
    expect(line).toMatchObject({ status: "OK" });
    expect(Object.keys(line)).not.toEqual(expect.arrayContaining([expect.stringMatching(/trace|span/)]));
  }
  expect(server.printed.stderr).not.toContain(bad);
});
