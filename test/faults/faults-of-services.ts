// What can happen to a service: it is killed in the midst of changes, or asked to end. Clients go to the other one.
import { BACK_WITHIN_S, type Fault } from "./fault.js";

const DRAIN_LIMIT_MS = 30_000;

export const serviceKill: Fault = {
  name: "service SIGKILL",
  runs: 50,
  recoversFrom: "strike",
  recoversWithinS: BACK_WITHIN_S,
  async strike({ services, random }) {
    const at = random.between(0, services.count - 1);
    await services.end(at, "SIGKILL");
    return () => services.startAgain(at);
  },
};

/** Not one call may fail for clients that go elsewhere when they are asked to. */
export const serviceTerm: Fault = {
  name: "service SIGTERM",
  runs: 10,
  recoversFrom: "heal",
  recoversWithinS: BACK_WITHIN_S,
  async strike({ services, random, recorder, complain }) {
    const at = random.between(0, services.count - 1);
    const failedBefore = recorder.failedCalls;
    const startMs = performance.now();
    const code = await services.end(at, "SIGTERM");
    const tookMs = performance.now() - startMs;
    if (code !== 0) complain(`the service ended with ${code}`);
    if (tookMs > DRAIN_LIMIT_MS) complain(`the service took ${(tookMs / 1000).toFixed(1)} s to end`);
    return async () => {
      const failed = recorder.failedCalls - failedBefore;
      if (failed > 0) complain(`${failed} calls failed during the drain`);
      await services.startAgain(at);
    };
  },
};
