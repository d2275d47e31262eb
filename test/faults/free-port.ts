// Ports for servers that are told theirs: below the range from which systems take the ports of outgoing connections, so
// that a server which was killed finds its port free when it comes back.
import { once } from "node:events";
import { createServer } from "node:net";

const FIRST = 10_000;
const COUNT = 22_000;
const given = new Set<number>();

/** A loopback port that nobody listens on, and that is given once in this process. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    if (!given.has(port) && (await isFree(port))) {
      given.add(port);
      return port;
    }
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}
