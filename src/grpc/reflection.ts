// grpc.reflection, v1 and v1alpha: the descriptors that buf wrote, served byte for byte, so that grpcurl and buf curl
// need no proto files at hand. To be imported when somebody asks: to read them takes a tenth of a server's start.
import { readFileSync } from "node:fs";
import { fromBinary } from "@bufbuild/protobuf";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { type DescriptorProto, type FileDescriptorProto, FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { type handleBidiStreamingCall, status as Status } from "@grpc/grpc-js";
import type { ServerReflectionRequest, ServerReflectionResponse } from "../../gen/grpc/reflection/v1/reflection.js";

interface File {
  readonly bytes: Buffer;
  readonly proto: FileDescriptorProto;
}

type Answer = NonNullable<ServerReflectionResponse["messageResponse"]>;

type Call = Parameters<handleBidiStreamingCall<ServerReflectionRequest, ServerReflectionResponse>>[0];

/** Answers a call of either version of the service; their messages are the same. `services`: the full names to list. */
export function answerReflection(call: Call, services: readonly string[]): void {
  call.on("data", (request: ServerReflectionRequest) => {
    const messageResponse = answer(request.messageRequest, services);
    const isRead = call.write({ validHost: request.host, originalRequest: request, messageResponse });
    // A client that does not read its answers is not read from.
    if (!isRead) call.pause().once("drain", () => call.resume());
  });
  call.on("end", () => call.end());
  call.on("error", () => call.end());
}

function answer(request: ServerReflectionRequest["messageRequest"], services: readonly string[]): Answer {
  switch (request?.$case) {
    case "listServices":
      return { $case: "listServicesResponse", value: { service: services.map((name) => ({ name })) } };
    case "fileByFilename":
      return withDependencies(FILES.get(request.value));
    case "fileContainingSymbol":
      return withDependencies(FILE_OF_SYMBOL.get(request.value));
    case "fileContainingExtension":
    case "allExtensionNumbersOfType":
      return refuse(Status.NOT_FOUND, "there are no extensions");
    case undefined:
      return refuse(Status.INVALID_ARGUMENT, "the request asks for nothing");
  }
}

/** The file and all it imports, each once, as clients expect. */
function withDependencies(file: File | undefined): Answer {
  if (file === undefined) return refuse(Status.NOT_FOUND, "not found");
  const found = new Set<File>();
  const visit = (next: File | undefined) => {
    if (next === undefined || found.has(next)) return;
    found.add(next);
    for (const name of next.proto.dependency) visit(FILES.get(name));
  };
  visit(file);
  return { $case: "fileDescriptorResponse", value: { fileDescriptorProto: [...found].map(({ bytes }) => bytes) } };
}

function refuse(errorCode: Status, errorMessage: string): Answer {
  return { $case: "errorResponse", value: { errorCode, errorMessage } };
}

/** gen/descriptor.binpb is a FileDescriptorSet; its field 1 is cut out without decoding, so that no byte changes. */
function readFiles(): Map<string, File> {
  const reader = new BinaryReader(readFileSync(new URL(import.meta.resolve("#descriptor.binpb"))));
  const files = new Map<string, File>();
  while (reader.pos < reader.len) {
    reader.tag();
    const bytes = Buffer.from(reader.bytes());
    const proto = fromBinary(FileDescriptorProtoSchema, bytes);
    files.set(proto.name, { bytes, proto });
  }
  return files;
}

/** Full names of everything a file declares. */
function symbolsOf({ package: scope, messageType, enumType, service, extension }: FileDescriptorProto): string[] {
  return [
    ...messageType.flatMap((message) => symbolsOfMessage(scope, message)),
    ...[...enumType, ...extension].map(({ name }) => `${scope}.${name}`),
    ...service.flatMap(({ name, method }) => [
      `${scope}.${name}`,
      ...method.map((rpc) => `${scope}.${name}.${rpc.name}`),
    ]),
  ];
}

function symbolsOfMessage(scope: string, { name, nestedType, enumType, field }: DescriptorProto): string[] {
  const fullName = `${scope}.${name}`;
  const inner = nestedType.flatMap((message) => symbolsOfMessage(fullName, message));
  return [fullName, ...inner, ...[...enumType, ...field].map((member) => `${fullName}.${member.name}`)];
}

const FILES = readFiles();
const FILE_OF_SYMBOL: ReadonlyMap<string, File> = new Map(
  [...FILES.values()].flatMap((file) => symbolsOf(file.proto).map((symbol) => [symbol, file] as const)),
);
