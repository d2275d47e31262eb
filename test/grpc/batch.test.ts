// VerifyTokens: one question about many tokens, with the same answers as many questions about one.
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { type Service, startService } from "../harness.js";

let service: Service;
beforeEach(async () => {
  service = await startService({ FAILED_VERIFICATION_RATE: "10", CALL_RATES: "VerifyToken=40" });
});
afterEach(() => service.stop());

test("each token gets the answer of VerifyToken, in order, and a bad one spoils no other", async () => {
  const as = (organization: string) => ({ organization, user: "alice" });
  const first = await service.tokens.createToken({ name: "first" }, as("acme"));
  const other = await service.tokens.createToken({ name: "other" }, as("globex"));
  const graceful = await service.tokens.createToken({ name: "graceful" }, as("acme"));
  const gracePeriod = { seconds: 3600n, nanos: 0 };
  const renewed = await service.tokens.renewToken({ name: "graceful", gracePeriod }, as("acme"));
  const old = await service.tokens.createToken({ name: "old" }, as("acme"));
  await service.tokens.renewToken({ name: "old" }, as("acme"));
  const dropped = await service.tokens.createToken({ name: "dropped" }, as("acme"));
  await service.tokens.revokeToken({ name: "dropped" }, as("acme"));

  const presented = [first, other, graceful, renewed, old, dropped, first].map(({ token }) => token);
  const tokens = ["", ...presented, `${first.token}x`, "\ud800 no token"];
  const alone = [];
  for (const token of tokens) alone.push(await service.verification.verifyToken({ token }));
  const { results } = await service.verification.verifyTokens({ tokens });
  const withoutUse = (answers: typeof results) =>
    answers.map(({ apiToken, ...rest }) => ({
      ...rest,
      apiToken: apiToken && { ...apiToken, lastUsedTime: undefined },
    }));
  expect(withoutUse(results)).toEqual(withoutUse(alone));
  expect(results.filter(({ active }) => active).map(({ apiToken }) => apiToken?.name)).toEqual([
    ...["first", "other", "graceful", "graceful", "first"],
  ]);
});

test("from 1 to 100 tokens", async () => {
  await expect(service.verification.verifyTokens({ tokens: [] })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    reason: "INVALID_FIELD",
    sqlState: "3D021",
    violations: ["tokens: is required"],
  });
  await expect(service.verification.verifyTokens({ tokens: Array(101).fill("x") })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    sqlState: "3D008",
    violations: ["tokens: must have at most 100 entries"],
  });
  expect((await service.verification.verifyTokens({ tokens: Array(100).fill("x") })).results).toHaveLength(100);
});

test("a batch takes one of the caller's verifications for each token", async () => {
  // 40 a second, and five seconds' worth at once; the last of them lets one more batch in, which takes two seconds to make up.
  for (const size of [100, 99, 100]) await service.verification.verifyTokens({ tokens: Array(size).fill("x") });
  const refusal = { code: "RESOURCE_EXHAUSTED", reason: "RATE_LIMITED" };
  await expect(service.verification.verifyTokens({ tokens: ["x"] })).rejects.toMatchObject(refusal);
  await expect(service.verification.verifyToken({ token: "x" })).rejects.toMatchObject(refusal);
});

test("dead tokens of a batch are counted as dead tokens, each", async () => {
  const { token } = await service.tokens.createToken({ name: "my_token" });
  await service.tokens.revokeToken({ name: "my_token" });
  await service.verification.verifyTokens({ tokens: Array(60).fill(token) });
  await expect(service.verification.verifyTokens({ tokens: [token] })).rejects.toMatchObject({
    code: "RESOURCE_EXHAUSTED",
    reason: "RATE_LIMITED",
  });
});

test("without Redis a batch is UNAVAILABLE as a whole", async () => {
  const { token } = await service.tokens.createToken({ name: "my_token" });
  await service.redis.shutDown();
  await expect(service.verification.verifyTokens({ tokens: ["x", token] })).rejects.toMatchObject({
    code: "UNAVAILABLE",
    reason: "STORE_UNAVAILABLE",
  });
});
