// Runs a row of the catalogue: whatever it sends, it gets the answer that it expects, the same process serves on, and
// nothing of the input comes back in an error or reaches what the server prints.
import type { Socket } from "node:net";
import { expect } from "@jest/globals";
import { eventually } from "../harness.js";
import type { ServerProcess } from "../server-process.js";
import type { Target } from "./grpc.js";
import { CANARY, type Row } from "./row.js";

/** The server that the rows are sent to. */
export interface Subject {
  readonly server: ServerProcess;
  readonly target: Target;
  /** What the rows have connected, for the runner to close. */
  readonly sockets: Set<Socket>;
  /** What a row has presented as credential; the runner looks for its end and forgets it. */
  readonly presented: string[];
  /** Every verb of a token's life works on a fresh connection. */
  readonly serves: () => Promise<void>;
}

export async function run({ act, expected, recoveryMs = 0 }: Row, subject: Subject): Promise<void> {
  const { server, target, sockets, presented, serves } = subject;
  const start = { stdout: server.printed.stdout.length, stderr: server.printed.stderr.length };
  try {
    const outcome = await act(target);
    // While the peer of the row is still connected.
    await eventually(serves, recoveryMs);
    if ("message" in outcome) {
      expectNoTrace(outcome.message, presented);
      expectNoTrace(outcome.details.toString("latin1"), presented);
    }
    const alternatives = [expected].flat();
    if (!alternatives.some((one) => matches(outcome, one))) expect(outcome).toMatchObject(alternatives[0] ?? {});
  } finally {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  }
  await eventually(serves, recoveryMs);
  expect(server.child.exitCode ?? server.child.signalCode).toBeNull();
  expectNoTrace(server.printed.stdout.slice(start.stdout), presented);
  expectNoTrace(server.printed.stderr.slice(start.stderr), presented);
  presented.length = 0;
}

/** Text and the other ways in which Node prints bytes. */
const TRACES = [
  CANARY,
  Buffer.from(CANARY).toString("hex"),
  Buffer.from(CANARY).toString("base64").slice(0, 16),
  Buffer.from(CANARY).toString("hex").match(/../g)?.join(" ") ?? "",
];

/** `credentials`: what must not be there either; its last characters tell it. */
export function expectNoTrace(text: string, credentials: readonly string[] = []): void {
  for (const trace of TRACES) expect(text.toLowerCase()).not.toContain(trace.toLowerCase());
  for (const credential of credentials) {
    if (credential.length >= 20) expect(text).not.toContain(credential.trim().slice(-20));
  }
}

function matches(outcome: object, expected: object): boolean {
  try {
    expect(outcome).toMatchObject(expected);
    return true;
  } catch {
    return false;
  }
}
