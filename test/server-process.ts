// The built server as a process of its own, for tests that need its pid, its signals or all that it prints.
import { spawn } from "node:child_process";
import { resolve } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { ApiTokenServiceClient } from "../gen/apitoken/v1/api_token_service.js";
import { TokenVerificationServiceClient } from "../gen/apitoken/v1/token_verification_service.js";
import { eventually, rpcs } from "./harness.js";

const ROOT = resolve(import.meta.dirname, "../..");

/** A server process on a free port with the environment given, and what it has printed so far. */
export function startServerProcess(
  env: Readonly<Record<string, string>>,
  command = [process.execPath, "dist/src/main.js"],
) {
  const [program = "", ...args] = command;
  const child = spawn(program, args, {
    cwd: ROOT,
    env: { ...process.env, NODE_ENV: "", LISTEN_ADDRESS: "127.0.0.1:0", ...env },
  });
  const printed = { stdout: "", stderr: "" };
  child.stdout.on("data", (bytes: Buffer) => {
    printed.stdout += bytes.toString();
  });
  child.stderr.on("data", (bytes: Buffer) => {
    printed.stderr += bytes.toString();
  });
  const exited = new Promise<number | null>((done) => child.on("close", done));
  const listening = () =>
    eventually(() => {
      const [, address] = /apitokend listens on (\S+) /.exec(printed.stdout) ?? [];
      if (address === undefined) throw new Error(`not listening yet: ${printed.stdout}${printed.stderr}`);
      return address;
    }, 15_000);
  return { child, printed, exited, listening };
}

export type ServerProcess = ReturnType<typeof startServerProcess>;

/** Clients of both services on a connection of their own. */
export function clients(address: string) {
  // grpc-js shares connections between clients of the same address and options unless told otherwise.
  const options = { "grpc.use_local_subchannel_pool": 1 };
  const tokens = new ApiTokenServiceClient(address, credentials.createInsecure(), options);
  const verification = new TokenVerificationServiceClient(address, credentials.createInsecure(), options);
  const close = () => {
    tokens.close();
    verification.close();
  };
  return { tokens: rpcs(tokens), verification: rpcs(verification), close };
}
