// What `import ... from "api-token-service"` gives: a typed client, and the contract's messages, enumerations and stubs.
// It must not reach the server's code: importing it starts nothing and reads no file.
export { ApiToken, TokenEvent, TokenEventKind } from "../../gen/apitoken/v1/api_token.js";
export {
  ApiTokenServiceClient,
  CreateTokenRequest,
  CreateTokenResponse,
  GetTokenRequest,
  GetTokenResponse,
  ListTokenEventsRequest,
  ListTokenEventsResponse,
  ListTokensRequest,
  ListTokensResponse,
  RenewTokenRequest,
  RenewTokenResponse,
  RevokeTokenRequest,
  RevokeTokenResponse,
} from "../../gen/apitoken/v1/api_token_service.js";
export {
  InactiveReason,
  Secret,
  TokenVerificationServiceClient,
  VerifyTokenRequest,
  VerifyTokenResponse,
  VerifyTokensRequest,
  VerifyTokensResponse,
} from "../../gen/apitoken/v1/token_verification_service.js";
export { type CallSettings, type Connection, type ConnectOptions, connect, type Methods } from "./connect.js";
export { Refusal } from "./refusal.js";
export { SERVICE_CONFIG } from "./service-config.js";
