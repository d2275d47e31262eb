// What a server says when something fails that it stands on: Redis, the issuer of its JWTs, or its own room.
import { ApiTokenServiceService as Tokens } from "../../gen/apitoken/v1/api_token_service.js";
import { TokenVerificationServiceService as Verification } from "../../gen/apitoken/v1/token_verification_service.js";
import { eventually } from "../harness.js";
import { bearer, type Cast, type Stage, signIn } from "./scenario.js";

/** A Redis that forgets scripts, refuses commands, holds what it never should, loses connections, and stands still. */
export async function redisFaults(stage: Stage, { gateway, current }: Cast) {
  const { calls, secrets, redis } = stage;
  const { control } = redis;
  const dave = await signIn(stage, "dave");
  let attempts = 0;
  const change = async () => {
    attempts += 1;
    const requestId = secrets.requestId(`request_id during a fault ${attempts}`);
    const created = await calls.unary(dave, Tokens.createToken, { name: `fault-${attempts}`, requestId });
    secrets.markToken(`token fault-${attempts}`, created.token);
  };
  const changes = () => eventually(change);

  await control.script("FLUSH");
  await change();
  await control.acl("SETUSER", "canary", "-eval", "-evalsha");
  await expectRefusal(change());
  await control.acl("SETUSER", "canary", "+@all");

  const { token: broken } = await calls.unary(dave, Tokens.createToken, { name: "broken" });
  secrets.markToken("token broken", broken);
  const [key = ""] = await control.keys(`*:t:${broken.slice(21, 33)}`);
  await control.set(key, "no hash");
  const requestId = secrets.requestId("request_id of a renewal that fails");
  await calls.refusal(gateway, Verification.verifyToken, { token: broken });
  await calls.refusal(bearer(stage, broken), Tokens.getToken, { name: "broken" });
  await calls.refusal(dave, Tokens.renewToken, { name: "broken", requestId });
  await control.del(key);

  await control.client("PAUSE", 60_000, "WRITE");
  const lost = expectRefusal(change());
  await eventually(async () => {
    const blocked = /^id=(\d+) .*name=apitokend-writes .*cmd=eval/m.exec(String(await control.client("LIST")));
    if (blocked?.[1] === undefined) throw new Error("nothing is held up yet");
    await control.client("KILL", "ID", blocked[1]);
  });
  await lost;
  await control.client("UNPAUSE");
  await changes();

  redis.process.kill("SIGSTOP");
  await Promise.all([
    expectRefusal(change()),
    calls.refusal(gateway, Verification.verifyToken, { token: current }),
    calls.refusal(bearer(stage, current), Tokens.getToken, { name: "main" }),
  ]);
  redis.process.kill("SIGCONT");
  await changes();
}

/** A second server, whose issuer is away and which has little room. */
export async function littleRoom(stage: Stage, address: string, { current }: Cast) {
  const { calls } = stage;
  const { metadata } = await signIn(stage, "erin");
  const anyone = bearer(stage, current, address);
  await calls.refusal({ client: anyone.client, ...(metadata && { metadata }) }, Tokens.listTokens, {});
  const get = () => calls.unary(anyone, Tokens.getToken, { name: "main" });
  await Promise.allSettled(Array.from({ length: 20 }, get));
  // One at a time until the rate is used up.
  await eventually(async () => {
    if (calls.reasons.has("RATE_LIMITED")) return;
    await get();
    throw new Error("not limited yet");
  });
}

/** Rejects unless the call is refused. */
async function expectRefusal(call: Promise<unknown>): Promise<void> {
  const [outcome] = await Promise.allSettled([call]);
  if (outcome.status === "fulfilled") throw new Error("it was not refused");
}
