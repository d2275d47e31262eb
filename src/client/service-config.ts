// The published service config, clients/service-config.json, as code, so that a bundler finds it; a test holds both equal.
// It retries UNAVAILABLE where that is safe: not a revocation, of which a second one would be NOT_FOUND.

const TOKENS = "apitoken.v1.ApiTokenService";
const RETRIED = ["CreateToken", "GetToken", "ListTokens", "ListTokenEvents", "RenewToken"];

export const SERVICE_CONFIG = {
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [
    {
      name: [
        ...RETRIED.map((method) => ({ service: TOKENS, method })),
        { service: "apitoken.v1.TokenVerificationService" },
      ],
      timeout: "10s",
      retryPolicy: {
        maxAttempts: 5,
        initialBackoff: "0.1s",
        maxBackoff: "2s",
        backoffMultiplier: 3,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
    { name: [{ service: TOKENS, method: "RevokeToken" }], timeout: "10s" },
  ],
  retryThrottling: { maxTokens: 20, tokenRatio: 0.5 },
} as const;
