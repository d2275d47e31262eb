// What can happen between a service and its Redis: replies that are lost, silence, delay, small segments, resets, refusals.
import { BACK_WITHIN_S, type Fault, hold, repeatedly } from "./fault.js";
import type { TcpProxy } from "./proxy.js";
import type { Standalone } from "./standalone.js";

const CUT_SHARE = 0.15;
const CUT_LIMIT_MS = 10_000;

export const repliesCut: Fault<Standalone> = through("connections cut after execution", async (proxy, scene) => {
  const isScript = (request: Buffer) => request.includes("evalsha");
  proxy.cutReplies((request) => isScript(request) && scene.random.next() < CUT_SHARE);
  await hold(scene, 1000, 1500);
  const limitMs = performance.now() + CUT_LIMIT_MS;
  while (proxy.cutCount === 0 && performance.now() < limitMs) await hold(scene, 50);
  if (proxy.cutCount === 0) scene.complain("no reply was cut");
});

export const blackHole: Fault<Standalone> = through("black hole", async (proxy, scene) => {
  proxy.blackHole();
  await hold(scene, 500, 2000);
});

/** Each way; the service waits 500 ms for a reply. */
export function slowness(ms: number): Fault<Standalone> {
  return through(`delay of ${ms} ms each way`, async (proxy, scene) => {
    proxy.delay(ms);
    await hold(scene, 1000, 2000);
  });
}

export const smallSegments: Fault<Standalone> = through("1-byte segments", async (proxy, scene) => {
  proxy.segments(1);
  await hold(scene, 1000, 1500);
});

export const resets: Fault<Standalone> = through("connections reset", (proxy, scene) =>
  repeatedly(scene, 5, () => proxy.reset()),
);

export const refusal: Fault<Standalone> = through("connections refused", async (proxy, scene) => {
  proxy.refuse();
  proxy.reset();
  await hold(scene, 500, 1500);
});

function through(
  name: string,
  act: (proxy: TcpProxy, scene: Parameters<Fault<Standalone>["strike"]>[0]) => Promise<void>,
): Fault<Standalone> {
  return {
    name,
    runs: 5,
    recoversFrom: "heal",
    recoversWithinS: BACK_WITHIN_S,
    async strike(scene) {
      const { proxy } = scene.topology;
      await act(proxy, scene);
      return () => proxy.restore();
    },
  };
}
