// The built server as a process of its own, for tests that need its pid, its signals or all that it prints.
import { spawn } from "node:child_process";
import { resolve } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { ApiTokenServiceClient } from "../gen/apitoken/v1/api_token_service.js";
import { TokenVerificationServiceClient } from "../gen/apitoken/v1/token_verification_service.js";
import { eventually, rpcs } from "./harness.js";

const ROOT = resolve(import.meta.dirname, "../..");

/** A line of the server's log. */
export interface LogLine {
  readonly msg: string;
  readonly method?: string;
  readonly status?: string;
  readonly reason?: string;
  readonly cause?: unknown;
  readonly caller?: string;
  readonly organization_id?: string;
  readonly user_id?: string;
}

interface StartOptions {
  readonly args?: readonly string[];
  /** Whether the test's own variables are the server's too; true by default. */
  readonly inherit?: boolean;
  /** Program and arguments that run it. */
  readonly command?: readonly string[];
}

/** A server process on a free port with the environment given, and what it has printed so far, as Latin-1. */
export function startServerProcess(
  env: Readonly<Record<string, string>>,
  options: StartOptions | readonly string[] = {},
) {
  const {
    args = [],
    inherit = true,
    command = [process.execPath, "dist/apitokend.js"],
  }: StartOptions = "length" in options ? { command: options } : options;
  const [program = "", ...own] = command;
  const child = spawn(program, [...own, ...args], {
    cwd: ROOT,
    env: { ...(inherit && { ...process.env, NODE_ENV: "" }), LISTEN_ADDRESS: "127.0.0.1:0", ...env },
  });
  const printed = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].on("data", (bytes: Buffer) => {
      printed[name] += bytes.toString("latin1");
    });
  }
  const exited = new Promise<number | null>((done) => child.on("close", done));
  const addresses = () =>
    eventually(() => {
      const [, text] = /apitokend listens on (.+) and keeps /.exec(printed.stdout) ?? [];
      if (text === undefined) throw new Error(`not listening yet: ${printed.stdout}${printed.stderr}`);
      return text.split(" and ");
    }, 15_000);
  return {
    child,
    printed,
    exited,
    /** All that it listens on: for bearers, for services. Rejects when it does not come to that. */
    addresses,
    listening: async () => (await addresses())[0] ?? "",
    log: (): LogLine[] => {
      const lines = printed.stderr.split("\n").slice(0, -1);
      return lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as LogLine);
    },
    /** Resolves with the exit code. */
    stop: (signal: NodeJS.Signals = "SIGKILL") => {
      child.kill(signal);
      return exited;
    },
  };
}

export type ServerProcess = ReturnType<typeof startServerProcess>;

/** What METRICS_ADDRESS serves: the type of each metric, and the value of each sample. */
export async function metricsOf(server: ServerProcess) {
  const [url = ""] = /http:\/\/\S+\/metrics/.exec(server.printed.stdout) ?? [];
  const text = await (await fetch(url)).text();
  const pairs = (lines: RegExp) =>
    Array.from(text.matchAll(lines), ([, name = "", rest = ""]) => [name, rest] as const);
  const types: ReadonlyMap<string, string> = new Map(pairs(/^# TYPE (\w+) (\w+)$/gm));
  const samples = new Map(pairs(/^([^#\s]+) (\S+)$/gm).map(([name, value]) => [name, Number(value)]));
  return { url, types, samples };
}

/** Clients of both services on a connection of their own. */
export function clients(address: string, channelCredentials = credentials.createInsecure()) {
  // grpc-js shares connections between clients of the same address and options unless told otherwise.
  const options = { "grpc.use_local_subchannel_pool": 1, "grpc.ssl_target_name_override": "localhost" };
  const tokens = new ApiTokenServiceClient(address, channelCredentials, options);
  const verification = new TokenVerificationServiceClient(address, channelCredentials, options);
  const close = () => {
    tokens.close();
    verification.close();
  };
  return { tokens: rpcs(tokens), verification: rpcs(verification), close };
}
