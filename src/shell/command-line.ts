// Reads the command line and the environment into what the program is to do.
// Must not connect, read statements or print: a fault is thrown as a UsageError.
import { readFileSync } from "node:fs";
import { isIPv4 } from "node:net";
import { parseArgs } from "node:util";
import { type ChannelCredentials, credentials } from "@grpc/grpc-js";
import type { Connection } from "./client.js";
import type { OutputFormat } from "./output.js";
import { GRAMMAR } from "./parser.js";

const DEFAULT_SERVER = "127.0.0.1:50051";
const MAX_WATCH_SECONDS = 86_400;

export const USAGE = `Usage: apitoken [options]

  -c 'statements'      run these statements and end
  -f file              run the statements in this file and end
  --watch n            run them again every n seconds, until Ctrl-C; LIST statements only
  --output table|json  how results are shown (default: table)
  --server host:port   the server (default: APITOKEN_SERVER or ${DEFAULT_SERVER})
  --token T            the bearer credential (default: APITOKEN_TOKEN, which other users cannot see)
  --tls                encrypt the connection; the options below imply it
  --ca-file F          trust these certificate authorities instead of the system's (PEM)
  --cert-file F        present this client certificate (PEM), with
  --key-file F         its private key (PEM)
  --help, --version

Without -c and -f it is interactive on a terminal, and otherwise runs the statements on stdin.

${GRAMMAR}
Tab at the prompt completes keywords and the names of your tokens. The lines entered are kept for the next session in the
file APITOKEN_HISTORY (default: apitoken/history in XDG_STATE_HOME or ~/.local/state), except lines that could hold a
secret; an empty APITOKEN_HISTORY keeps none. Colours are for terminals only; NO_COLOR=1 turns them off.
Exit code: 0 done, 1 a statement failed, 2 wrong usage, 3 the server cannot be reached.
`;

/** Statements come from `text`, or from stdin when there is none; stdin may be a terminal. */
export interface RunCommand {
  readonly kind: "run";
  readonly text: string | undefined;
  readonly output: OutputFormat;
  /** How often to run them again. */
  readonly watchSeconds: number | undefined;
  readonly connection: Connection;
}

export type Command = { readonly kind: "help" } | { readonly kind: "version" } | RunCommand;

/** A fault in how the program was called; the message never holds the token. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Throws UsageError, also for files that cannot be read. */
export function parseCommandLine(args: readonly string[], env: NodeJS.ProcessEnv): Command {
  const values = readOptions(args);
  if (values.help) return { kind: "help" };
  if (values.version) return { kind: "version" };
  if (values.command !== undefined && values.file !== undefined) throw new UsageError("-c and -f cannot be combined");
  const output = values.output ?? "table";
  if (output !== "table" && output !== "json") throw new UsageError("--output must be table or json");
  const text = values.file === undefined ? values.command : readText(values.file);
  const watchSeconds = values.watch === undefined ? undefined : parseSeconds(values.watch);
  if (watchSeconds !== undefined && text === undefined) throw new UsageError("--watch needs -c or -f");
  return { kind: "run", text, output, watchSeconds, connection: connectionOf(values, env) };
}

function parseSeconds(text: string): number {
  const seconds = /^[0-9]+$/.test(text) ? Number(text) : 0;
  if (seconds >= 1 && seconds <= MAX_WATCH_SECONDS) return seconds;
  throw new UsageError(`--watch must be a whole number of seconds from 1 to ${MAX_WATCH_SECONDS}`);
}

type OptionValues = ReturnType<typeof readOptions>;

function readOptions(args: readonly string[]) {
  try {
    const { values, tokens } = parseArgs({
      args: attachStatements(args),
      options: {
        command: { type: "string", short: "c" },
        file: { type: "string", short: "f" },
        watch: { type: "string" },
        output: { type: "string" },
        server: { type: "string" },
        token: { type: "string" },
        tls: { type: "boolean" },
        "ca-file": { type: "string" },
        "cert-file": { type: "string" },
        "key-file": { type: "string" },
        help: { type: "boolean", short: "h" },
        version: { type: "boolean" },
      },
      tokens: true,
    });
    const names = tokens.flatMap((token) => (token.kind === "option" ? [token.rawName] : []));
    const repeated = names.find((name, index) => names.indexOf(name) !== index);
    if (repeated !== undefined) throw new UsageError(`${repeated} is given twice`);
    return values;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new UsageError(error.message.replace(/\s+/g, " "));
  }
}

/** parseArgs takes a value that begins with a dash for an option, but statements may begin with a comment. */
function attachStatements(args: readonly string[]): string[] {
  const at = args.indexOf("-c");
  const statements = args[at + 1] ?? "";
  const isComment = statements.startsWith("--") && /\s/.test(statements);
  return at !== -1 && isComment ? args.toSpliced(at, 2, `-c${statements}`) : [...args];
}

function connectionOf(values: OptionValues, env: NodeJS.ProcessEnv): Connection {
  const { APITOKEN_SERVER, APITOKEN_TOKEN } = env;
  const { host, port } = parseServer(values.server ?? (APITOKEN_SERVER || DEFAULT_SERVER));
  const token = values.token ?? (APITOKEN_TOKEN || undefined);
  const files = [values["ca-file"], values["cert-file"], values["key-file"]];
  const isEncrypted = values.tls === true || files.some((file) => file !== undefined);
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
    throw new UsageError("the token must be visible ASCII characters only (its value is not shown here)");
  }
  if (token !== undefined && !isEncrypted && !isLoopback(host)) {
    throw new UsageError(`the token would travel in plaintext to ${host}: use --tls`);
  }
  const channelCredentials = isEncrypted ? tlsCredentials(values) : credentials.createInsecure();
  return { host, port, credentials: channelCredentials, isEncrypted, token };
}

function parseServer(server: string): { host: string; port: number } {
  const match = /^(?<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(?<port>[0-9]{1,5})$/.exec(server);
  const { host, port } = match?.groups ?? {};
  if (host === undefined || Number(port) < 1 || Number(port) > 65_535) {
    throw new UsageError("the server must be host:port, such as 127.0.0.1:50051 or [::1]:50051");
  }
  return { host, port: Number(port) };
}

function isLoopback(host: string): boolean {
  return host.toLowerCase() === "localhost" || host === "[::1]" || (isIPv4(host) && host.startsWith("127."));
}

function tlsCredentials(values: OptionValues): ChannelCredentials {
  const { "ca-file": caFile, "cert-file": certFile, "key-file": keyFile } = values;
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw new UsageError("--cert-file and --key-file go together");
  }
  const [ca, cert, key] = [caFile, certFile, keyFile].map((file) => (file === undefined ? null : readBytes(file)));
  try {
    return credentials.createSsl(ca, key, cert);
  } catch (error) {
    throw new UsageError(`the TLS files cannot be used: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function readText(file: string): string {
  return new TextDecoder().decode(readBytes(file));
}

function readBytes(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : `cannot read ${file}`);
  }
}
