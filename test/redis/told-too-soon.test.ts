// A Sentinel that tells of a failover while it is being asked for the master: ioredis takes that for the end, and we do not.
// The Sentinel is a scripted one, for real ones cannot be held at that moment; the Redis is real.
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { expect, test } from "@jest/globals";
import { RedisConnection } from "../../src/redis/connection.js";
import { startStandalone } from "../faults/standalone.js";
import { addressOf, eventually } from "../harness.js";

const bulk = (...texts: readonly string[]) =>
  `*${texts.length}\r\n${texts.map((text) => `$${text.length}\r\n${text}\r\n`).join("")}`;

/** Names the master, and tells its subscribers of another when it is made to. */
async function startScriptedSentinel(masterPort: number) {
  const sockets = new Set<Socket>();
  const subscribers = new Set<Socket>();
  const held: (() => void)[] = [];
  let isHolding = false;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => subscribers.delete(socket));
    const reply = (command: string) => {
      if (command.includes("subscribe")) {
        subscribers.add(socket);
        socket.write("*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n");
      } else if (command.includes("get-master-addr-by-name")) {
        const answer = () => socket.write(bulk("127.0.0.1", String(masterPort)));
        if (isHolding) held.push(answer);
        else answer();
      } else socket.write(command.includes("sentinels") ? "*0\r\n" : "+OK\r\n");
    };
    socket.on("data", (bytes) => {
      for (const command of bytes
        .toString()
        .toLowerCase()
        .split(/(?=\*\d+\r\n\$)/))
        reply(command);
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    subscribers,
    held,
    hold: () => {
      isHolding = true;
    },
    tellAndAnswer: async () => {
      for (const socket of subscribers) socket.write(bulk("message", "+switch-master", "mymaster"));
      // They are let go of, and the answers come to nobody.
      await eventually(() => expect(subscribers.size).toBe(0));
      isHolding = false;
      for (const answer of held) answer();
    },
    stop: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

test("a failover that is told while a Sentinel is asked for the master leaves no connection dead", async () => {
  const redis = await startStandalone();
  const sentinel = await startScriptedSentinel(redis.node.port);
  const address = addressOf(`redis+sentinel://127.0.0.1:${sentinel.port}/mymaster`);
  const connection = new RedisConnection(address, { awaitsReplicas: false });
  const clients = [...connection.reads.all(), ...connection.writes.all()].map(({ redis: client }) => client);
  const areReady = () => expect(clients.map(({ status }) => status)).toEqual(["ready", "ready"]);
  try {
    await eventually(areReady);
    await eventually(() => expect(sentinel.subscribers.size).toBe(2));
    sentinel.hold();
    await redis.node.kill();
    await eventually(() => expect(sentinel.held).toHaveLength(2));
    await redis.node.start();
    await sentinel.tellAndAnswer();
    await eventually(areReady);
    expect(await connection.read("apitoken:{x}:index", (client) => client.ping())).toBe("PONG");
  } finally {
    connection.close();
    sentinel.stop();
    await redis.stop();
  }
});
