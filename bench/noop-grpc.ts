// The floor: a server on the same grpc-js that takes the same requests and gives one fixed reply. Run by servers.ts with the
// codec and the reply in base64: `bytes` looks at no message, `messages` decodes and encodes them as our server does.
import { Server, ServerCredentials } from "@grpc/grpc-js";
import {
  TokenVerificationServiceService,
  type VerifyTokenRequest,
  type VerifyTokenResponse,
} from "../gen/apitoken/v1/token_verification_service.js";

const [codec = "bytes", base64 = ""] = process.argv.slice(2);
const bytes = Buffer.from(base64, "base64");
const { verifyToken } = TokenVerificationServiceService;
const server = new Server();
if (codec === "bytes") {
  const definition = { ...verifyToken, requestDeserialize: same, responseSerialize: same };
  const handle = (_call: unknown, callback: (error: null, reply: Buffer) => void) => callback(null, bytes);
  server.addService({ verifyToken: definition }, { verifyToken: handle });
} else {
  const reply = verifyToken.responseDeserialize(bytes);
  const handle = (
    _call: { readonly request: VerifyTokenRequest },
    callback: (error: null, reply: VerifyTokenResponse) => void,
  ) => callback(null, reply);
  server.addService({ verifyToken }, { verifyToken: handle });
}
server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  process.stdout.write(`listens on 127.0.0.1:${port}\n`);
});

function same(message: Buffer): Buffer {
  return message;
}
