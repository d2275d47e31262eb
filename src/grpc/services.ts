// Our services as grpc-js takes them, but with serializers of our own. ts-proto makes a writer for each message, and
// protobuf's writer several ArrayBuffers for it, which cost a verification a tenth of its CPU, most of it in the garbage
// collector: here one writer keeps its room.
import { BinaryWriter, UINT32_MAX } from "@bufbuild/protobuf/wire";
import {
  ApiTokenServiceService,
  CreateTokenResponse,
  GetTokenResponse,
  ListTokenEventsResponse,
  ListTokensResponse,
  RenewTokenResponse,
  RevokeTokenResponse,
} from "../../gen/apitoken/v1/api_token_service.js";
import {
  TokenVerificationServiceService,
  VerifyTokenResponse,
  VerifyTokensResponse,
} from "../../gen/apitoken/v1/token_verification_service.js";

export const apiTokenService: typeof ApiTokenServiceService = {
  createToken: method(ApiTokenServiceService.createToken, CreateTokenResponse),
  getToken: method(ApiTokenServiceService.getToken, GetTokenResponse),
  listTokens: method(ApiTokenServiceService.listTokens, ListTokensResponse),
  renewToken: method(ApiTokenServiceService.renewToken, RenewTokenResponse),
  revokeToken: method(ApiTokenServiceService.revokeToken, RevokeTokenResponse),
  listTokenEvents: method(ApiTokenServiceService.listTokenEvents, ListTokenEventsResponse),
};

export const tokenVerificationService: typeof TokenVerificationServiceService = {
  verifyToken: method(TokenVerificationServiceService.verifyToken, VerifyTokenResponse),
  verifyTokens: method(TokenVerificationServiceService.verifyTokens, VerifyTokensResponse),
};

interface Codec<Message> {
  encode(message: Message, writer: BinaryWriter): BinaryWriter;
}

function method<Answer, Definition extends { readonly responseSerialize: (answer: Answer) => Buffer }>(
  definition: Definition,
  codec: Codec<Answer>,
): Definition {
  return { ...definition, responseSerialize: (answer: Answer) => serialize(codec, answer) };
}

/** What BinaryWriter keeps private. */
interface Room {
  readonly buffer: Uint8Array;
  pos: number;
}

class Writer extends BinaryWriter {
  /** Times, durations and generations fit 32 bits, and are written so without another bigint. */
  override int64(value: string | number | bigint): this {
    const number = Number(value);
    return number >= 0 && number <= UINT32_MAX ? this.uint32(number) : super.int64(value);
  }
}

let writer = new Writer();

/** The bytes lie in the writer's room, where the next answer will be: copy them at once. */
function serialize<Message>(codec: Codec<Message>, message: Message): Buffer {
  const room = writer as unknown as Room;
  try {
    codec.encode(message, writer);
    return Buffer.from(room.buffer.buffer, room.buffer.byteOffset, room.pos);
  } catch (error) {
    writer = new Writer();
    throw error;
  } finally {
    room.pos = 0;
  }
}
