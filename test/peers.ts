// Other people's clients against the built server: grpcurl, by reflection, as the README shows it. Not a part of
// `npm test`, for it needs Go; where neither grpcurl nor Go is at hand it says so and succeeds.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";

const GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3";
const BIN = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "api-token-service", "bin");
const run = promisify(execFile);

const grpcurl = await findGrpcurl();
if (grpcurl === undefined) {
  process.stdout.write("skipped: grpcurl cannot be had here: it is not on the PATH, and Go could not install it\n");
} else {
  const folder = await mkdtemp(join(tmpdir(), "apitoken-"));
  const env = { ...process.env, LISTEN_ADDRESS: "127.0.0.1:0", DATA_DIR: folder, LOG_LEVEL: "error", NODE_ENV: "" };
  const server = spawn(process.execPath, ["dist/src/main.js"], { env, stdio: ["ignore", "pipe", "inherit"] });
  try {
    await checkWith(grpcurl, await addressOf(server));
    process.stdout.write(`grpcurl (${grpcurl}): every check passed\n`);
  } finally {
    const exited = new Promise((resolve) => server.on("close", resolve));
    server.kill("SIGTERM");
    await exited;
    await rm(folder, { recursive: true, force: true });
  }
}

async function checkWith(program: string, address: string): Promise<void> {
  const plain = async (...args: string[]) => (await run(program, ["-plaintext", ...args])).stdout;
  const call = async (method: string, request: object) =>
    JSON.parse(await plain("-d", JSON.stringify(request), address, `apitoken.v1.${method}`)) as Record<string, unknown>;

  expect("list", await plain(address, "list"), /^apitoken\.v1\.ApiTokenService$/m);
  expect("describe", await plain(address, "describe", "apitoken.v1.ApiToken"), /expire_time = \d+/);
  expect("health", await plain(address, "grpc.health.v1.Health/Check"), /"SERVING"/);
  const created = await call("ApiTokenService/CreateToken", { name: "my_token", ttl: "3600s" });
  const renewed = await call("ApiTokenService/RenewToken", { name: "my_token", grace_period: "60s" });
  const verified = (token: unknown) => call("TokenVerificationService/VerifyToken", { token });
  expect("the old secret", JSON.stringify(await verified(created["token"])), /"SECRET_PREVIOUS"/);
  expect("the new secret", JSON.stringify(await verified(renewed["token"])), /"active":true.*"generation":"2"/);
  // By reflection grpcurl knows the detail messages too, and prints them unpacked.
  const refusal = await call("ApiTokenService/GetToken", { name: "" }).then(
    (answer) => JSON.stringify(answer),
    ({ stderr }: { stderr: string }) => stderr,
  );
  expect(
    "a refusal",
    refusal,
    /InvalidArgument[\s\S]*google\.rpc\.ErrorInfo[\s\S]*"sql_state": ?"3D021"[\s\S]*BadRequest/,
  );
}

function expect(title: string, actual: string, pattern: RegExp): void {
  if (!pattern.test(actual)) throw new Error(`${title}: ${pattern} is not in\n${actual}`);
  process.stdout.write(`ok: ${title}\n`);
}

function addressOf(server: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let printed = "";
    server.stdout?.on("data", (bytes: Buffer) => {
      printed += bytes.toString();
      const [, address] = /apitokend listens on (\S+) /.exec(printed) ?? [];
      if (address !== undefined) resolve(address);
    });
    server.on("close", () => reject(new Error(`apitokend ended: ${printed}`)));
  });
}

async function findGrpcurl(): Promise<string | undefined> {
  const onPath = (name: string) =>
    [...(process.env["PATH"] ?? "").split(delimiter), BIN]
      .map((folder) => join(folder, name))
      .find((path) => existsSync(path));
  const installed = onPath("grpcurl");
  const go = onPath("go");
  if (installed !== undefined || go === undefined) return installed;
  process.stdout.write(`Installing ${GRPCURL} into ${BIN} (about a minute)...\n`);
  try {
    await run(go, ["install", GRPCURL], { env: { ...process.env, GOBIN: BIN } });
  } catch (error) {
    process.stdout.write(`go install failed: ${String(error)}\n`);
    return undefined;
  }
  return join(BIN, "grpcurl");
}
