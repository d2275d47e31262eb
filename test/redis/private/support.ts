// What the tests of the private Redis share beyond the harness: one command over a connection of its own, and waiting.
import { setTimeout as delay } from "node:timers/promises";
import { Redis } from "ioredis";

/** Sends one command over a connection of its own and returns the reply. */
export async function command(socketPath: string, name: string, ...args: readonly string[]): Promise<unknown> {
  const client = new Redis({ path: socketPath, retryStrategy: () => null, lazyConnect: true });
  client.on("error", () => undefined); // The command itself reports it.
  await client.connect();
  try {
    return await client.call(name, ...args);
  } finally {
    client.disconnect();
  }
}

/** Waits until the condition holds; the test's own time limit ends a wait for what never comes. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await delay(10);
}
