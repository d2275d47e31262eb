"""A plugin for buf that writes gRPC stubs with the generator inside grpcio-tools, which has no program of its own."""

import pathlib
import sys
import tempfile

from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2
from grpc_tools import protoc


def main() -> None:
    request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        descriptors = descriptor_pb2.FileDescriptorSet(file=request.proto_file)
        folder.joinpath("in.binpb").write_bytes(descriptors.SerializeToString())
        out = folder / "out"
        out.mkdir()
        arguments = ["protoc", f"--descriptor_set_in={folder / 'in.binpb'}", f"--grpc_python_out={out}"]
        if protoc.main([*arguments, *request.file_to_generate]) != 0:
            sys.exit("grpc_tools.protoc failed")
        for path in sorted(out.rglob("*.py")):
            response.file.add(name=path.relative_to(out).as_posix(), content=path.read_text(encoding="utf-8"))
    sys.stdout.buffer.write(response.SerializeToString())


if __name__ == "__main__":
    main()
