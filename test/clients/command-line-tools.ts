// grpcurl, buf curl and ghz against a real server, with the lines that the README shows.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { goProgram } from "./builds.js";
import type { Report } from "./languages.js";
import { expectMatch, output, run, versionOf } from "./programs.js";
import { startDevelopmentServer, startTlsServer } from "./servers.js";
import { ROOT } from "./vectors.js";

const GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3";
const GHZ = "github.com/bojand/ghz/cmd/ghz@v0.120.0";
const GHZ_CALLS = 200;
const BUF = join(ROOT, "node_modules/.bin/buf");
/** buf's exit code is eight times gRPC's. */
const BUF_INVALID_ARGUMENT = 3 * 8;

type Answer = Readonly<Record<string, unknown>>;

export async function checkGrpcurl(report: Report): Promise<void> {
  const { path: program, version } = await goProgram(GRPCURL);
  report(`grpcurl ${version}`);
  const [line] = documentedLines(/`(grpcurl -plaintext [^`]+)`/g);
  if (line === undefined) throw new Error("the documents show no grpcurl call");
  const server = await startDevelopmentServer();
  const { address } = server;
  const plain = (...args: string[]) => output([program, "-plaintext", ...args]);
  const call = async (method: string, request: object): Promise<Answer> =>
    JSON.parse(await plain("-d", JSON.stringify(request), address, `apitoken.v1.${method}`)) as Answer;
  const verified = async (token: unknown) =>
    JSON.stringify(await call("TokenVerificationService/VerifyToken", { token }));
  try {
    expectMatch("list", await plain(address, "list"), /^apitoken\.v1\.ApiTokenService$/m);
    expectMatch("describe", await plain(address, "describe", "apitoken.v1.ApiToken"), /expire_time = \d+/);
    expectMatch("health", await plain(address, "grpc.health.v1.Health/Check"), /"SERVING"/);
    const created = await call("ApiTokenService/CreateToken", { name: "my_token", ttl: "3600s" });
    const renewed = await call("ApiTokenService/RenewToken", { name: "my_token", grace_period: "60s" });
    expectMatch("the old secret", await verified(created["token"]), /"SECRET_PREVIOUS"/);
    expectMatch("the new secret", await verified(renewed["token"]), /"active":true.*"generation":"2"/);
    // By reflection grpcurl knows the detail messages too, and prints them unpacked.
    const refused = await run([program, "-plaintext", "-d", "{}", address, "apitoken.v1.ApiTokenService/GetToken"]);
    const details = /InvalidArgument[\s\S]*google\.rpc\.ErrorInfo[\s\S]*"sql_state": ?"3D021"[\s\S]*BadRequest/;
    expectMatch("a refusal", refused.stderr, details);
    report("lists, describes, calls, and shows the details of a refusal");

    await call("ApiTokenService/CreateToken", { name: "gateway" });
    const script = line.replaceAll("127.0.0.1:50051", address).replace(/^grpcurl/, `'${program}'`);
    expectMatch("the documented line", await output(["sh", "-ec", script]), /"generation": "2"/);
    report(`runs as documented: ${line}`);
  } finally {
    await server.stop();
  }
}

export async function checkBufCurl(report: Report): Promise<void> {
  report(`buf ${await versionOf([BUF, "--version"])}`);
  const blocks = documentedLines(/<!-- run -->\n```sh\n([\s\S]*?)```/g, "\n").filter((text) =>
    text.includes("buf curl"),
  );
  if (blocks.length === 0) throw new Error("the documents show no buf curl call");
  await checkBufCurlPlaintext(blocks, report);
  const server = await startTlsServer("buf");
  try {
    const bearer = ["-H", `authorization: Bearer ${server.jwt}`, "--reflect-header", "*"];
    const url = `https://${server.address}/apitoken.v1.ApiTokenService/CreateToken`;
    const command = [
      BUF,
      "curl",
      "--protocol",
      "grpc",
      "--cacert",
      server.caFile,
      ...bearer,
      "-d",
      '{"name": "ci"}',
      url,
    ];
    expectMatch("over TLS", await output(command), /"userId": "buf"/);
    report("calls over TLS with a JWT");
  } finally {
    await server.stop();
  }
}

async function checkBufCurlPlaintext(blocks: readonly string[], report: Report): Promise<void> {
  const server = await startDevelopmentServer();
  const env = {
    APITOKEN_SERVER: server.address,
    PATH: [join(ROOT, "node_modules/.bin"), process.env["PATH"]].join(delimiter),
  };
  try {
    for (const block of blocks) {
      const script = block.replaceAll("127.0.0.1:50051", server.address);
      expectMatch(block, await output(["sh", "-ec", script], { cwd: ROOT, env }), /"generation": "[12]"/);
    }
    report(`runs ${blocks.length} blocks as documented`);
    const url = `http://${server.address}/apitoken.v1.ApiTokenService/GetToken`;
    const refused = await run([BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", "{}", url]);
    if (refused.code !== BUF_INVALID_ARGUMENT) throw new Error(`a refusal: exit code ${refused.code}`);
    expectMatch(
      "a refusal",
      refused.stderr,
      /"invalid_argument"[\s\S]*google\.rpc\.ErrorInfo[\s\S]*google\.rpc\.BadRequest/,
    );
    report("shows the details of a refusal, and its code as exit code");
  } finally {
    await server.stop();
  }
}

export async function checkGhz(report: Report): Promise<void> {
  const { path: program, version } = await goProgram(GHZ);
  report(`ghz ${version}`);
  const server = await startDevelopmentServer();
  try {
    const call = ["--call", "apitoken.v1.TokenVerificationService.VerifyToken", "-d", '{"token": "none"}'];
    const limits = ["-n", String(GHZ_CALLS), "-c", "4", "--timeout", "5s"];
    const text = await output([program, "--insecure", ...call, ...limits, "-O", "json", server.address]);
    const { count, statusCodeDistribution } = JSON.parse(text) as Answer;
    const answered = JSON.stringify(statusCodeDistribution);
    if (count !== GHZ_CALLS || answered !== `{"OK":${GHZ_CALLS}}`)
      throw new Error(`${String(count)} calls: ${answered}`);
    report(`${GHZ_CALLS} verifications, all of them answered`);
  } finally {
    await server.stop();
  }
}

/** What the pattern's group finds in the README and in docs/, on one line unless told otherwise. */
function documentedLines(pattern: RegExp, lineBreak = " "): string[] {
  const docs = join(ROOT, "docs");
  const more = existsSync(docs) ? readdirSync(docs).filter((name) => name.endsWith(".md")) : [];
  const files = [join(ROOT, "README.md"), ...more.map((name) => join(docs, name))];
  const text = files.map((file) => readFileSync(file, "utf8")).join("\n");
  return [...text.matchAll(pattern)].map(([, line = ""]) => line.replaceAll("\n", lineBreak));
}
