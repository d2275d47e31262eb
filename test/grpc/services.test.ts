// Our serializers write what ts-proto's write, whatever the message; the one writer that they share forgets each.
import { expect, test } from "@jest/globals";
import fc from "fast-check";
import type { ApiToken } from "../../gen/apitoken/v1/api_token.js";
import {
  InactiveReason,
  Secret,
  VerifyTokenResponse,
  VerifyTokensResponse,
} from "../../gen/apitoken/v1/token_verification_service.js";
import { tokenVerificationService } from "../../src/grpc/services.js";

const INT64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const EDGES = fc.constantFrom(
  0n,
  1n,
  -1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n,
  2n ** 63n - 1n,
  -(2n ** 63n),
);
const number = fc.oneof(EDGES, INT64);
const text = fc.oneof(fc.string({ unit: "grapheme" }), fc.string({ minLength: 100, maxLength: 300 }));
const time = fc.option(fc.record({ seconds: number, nanos: fc.integer({ min: 0, max: 999_999_999 }) }), {
  nil: undefined,
});
const apiToken: fc.Arbitrary<ApiToken> = fc.record({
  uid: text,
  organizationId: text,
  userId: text,
  name: text,
  role: text,
  createTime: time,
  expireTime: time,
  lastUsedTime: time,
  ttl: time,
  generation: number,
  etag: text,
  previousSecretExpireTime: time,
});
const response: fc.Arbitrary<VerifyTokenResponse> = fc.record({
  active: fc.boolean(),
  apiToken: fc.option(apiToken, { nil: undefined }),
  secret: fc.constantFrom(Secret.SECRET_UNSPECIFIED, Secret.SECRET_PREVIOUS),
  reason: fc.constantFrom(InactiveReason.INACTIVE_REASON_UNSPECIFIED, InactiveReason.INACTIVE_REASON_SUPERSEDED),
  expiresIn: time,
});

test("an answer is serialized as ts-proto does it", () => {
  const serialize = tokenVerificationService.verifyToken.responseSerialize;
  fc.assert(
    fc.property(response, (answer) => {
      expect(serialize(answer)).toEqual(Buffer.from(VerifyTokenResponse.encode(answer).finish()));
    }),
    { numRuns: 1000 },
  );
});

test("so is a batch, which is longer than any answer before it", () => {
  const serialize = tokenVerificationService.verifyTokens.responseSerialize;
  fc.assert(
    fc.property(fc.array(response, { maxLength: 100 }), (results) => {
      expect(serialize({ results })).toEqual(Buffer.from(VerifyTokensResponse.encode({ results }).finish()));
    }),
  );
});

test("an answer that cannot be serialized leaves nothing in the next one", () => {
  const serialize = tokenVerificationService.verifyToken.responseSerialize;
  const good: VerifyTokenResponse = {
    active: true,
    apiToken: undefined,
    secret: 0,
    reason: 0,
    expiresIn: { seconds: 5n, nanos: 0 },
  };
  expect(() => serialize({ ...good, expiresIn: { seconds: 2n ** 64n, nanos: 0 } })).toThrow();
  expect(serialize(good)).toEqual(Buffer.from(VerifyTokenResponse.encode(good).finish()));
});
