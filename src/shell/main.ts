#!/usr/bin/env node
// The program `apitoken`: a SQL shell for the API-token service. Wires the parts and chooses the exit code.
// Like everything in this folder it must not know the server's code: it is a client like any other.
import { readFileSync } from "node:fs";
import { buffer } from "node:stream/consumers";
import { ApiTokenClient } from "./client.js";
import { type Command, parseCommandLine, type RunCommand, USAGE, UsageError } from "./command-line.js";
import { History, historyFile } from "./history.js";
import { runInteractive } from "./interactive.js";
import { type Outcome, OutputError, runStatements, type SessionOptions, write } from "./session.js";
import { obeysEscapes, styleFor } from "./style.js";
import { escapeControls } from "./terminal-text.js";
import { isWatchable, watch } from "./watch.js";

const { stdin, stdout, stderr, env } = process;
// Node complains of an IP address as TLS server name, which grpc-js sets; it is nothing that a user could change.
process.noDeprecation = true;
const EXIT_CODES: Readonly<Record<Outcome, number>> = { done: 0, failed: 1, unavailable: 1, unreachable: 3 };
const USAGE_EXIT_CODE = 2;

// Failed writes are answered where they are made; without a listener they would end the process first.
stdout.on("error", () => {});
stderr.on("error", () => {});

process.exitCode = await main();

async function main(): Promise<number> {
  try {
    const command = parseCommandLine(process.argv.slice(2), env);
    return await run(command);
  } catch (error) {
    if (error instanceof UsageError) {
      stderr.write(`apitoken: ${escapeControls(error.message)}\nTry 'apitoken --help'.\n`);
      return USAGE_EXIT_CODE;
    }
    if (!(error instanceof OutputError)) throw error;
    // A reader that has gone, such as `head`, has what it wanted: nothing to complain about.
    if (!error.isClosedPipe) stderr.write(`apitoken: ${escapeControls(error.message)}\n`);
    return EXIT_CODES.failed;
  }
}

async function run(command: Command): Promise<number> {
  switch (command.kind) {
    case "run":
      return EXIT_CODES[await runSession(command)];
    case "help":
      await write(stdout, USAGE);
      return 0;
    case "version":
      await write(stdout, `apitoken ${readVersion()}\n`);
      return 0;
    default:
      return command satisfies never;
  }
}

async function runSession({ text, output, watchSeconds, connection }: RunCommand): Promise<Outcome> {
  if (watchSeconds !== undefined && !isWatchable(text ?? "")) {
    throw new UsageError("--watch repeats LIST statements only");
  }
  // A round of a watch has its answer by the time of the next one, or a failure to show.
  const client = new ApiTokenClient(connection, watchSeconds && watchSeconds * 1000);
  const session: SessionOptions = {
    client,
    server: `${connection.host}:${connection.port}`,
    format: output,
    stdout: { stream: stdout, style: styleFor(stdout, env) },
    stderr: { stream: stderr, style: styleFor(stderr, env) },
  };
  try {
    if (watchSeconds !== undefined && text !== undefined) {
      return await watch(text, { seconds: watchSeconds, clears: obeysEscapes(stdout, env) }, session);
    }
    if (text !== undefined || !stdin.isTTY) return await runStatements(text ?? (await readStdin()), session);
    await interact(session);
    return "done";
  } finally {
    client.close();
  }
}

function interact(session: SessionOptions): Promise<void> {
  const history = new History(historyFile(env));
  const names = () => session.client.tokenNames();
  return runInteractive({ input: stdin, output: stdout, history, names }, async (entered) => {
    await runStatements(entered, { ...session, stderr: session.stdout });
  });
}

async function readStdin(): Promise<string> {
  return new TextDecoder().decode(await buffer(stdin));
}

function readVersion(): string {
  const file = new URL(import.meta.resolve("#package.json"));
  const { version } = JSON.parse(readFileSync(file, "utf8")) as { version: string };
  return version;
}
