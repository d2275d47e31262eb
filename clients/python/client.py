"""Connects to apitokend the way a program should: with the published service config, and over TLS with a bearer
credential wherever it is not a development server on this machine."""

import dataclasses
import os
import pathlib
import sys

import grpc
from google.rpc import code_pb2, error_details_pb2
from grpc_status import rpc_status

# The stubs import each other as apitoken.v1.
sys.path.insert(0, str(pathlib.Path(__file__).parent / "gen"))

HERE = pathlib.Path(__file__).parent


def open_channel(token: str | None = None) -> grpc.Channel:
    """A channel to APITOKEN_SERVER. With APITOKEN_CA_FILE over TLS, with `token` or APITOKEN_TOKEN as credential."""
    server = os.environ.get("APITOKEN_SERVER") or "127.0.0.1:50051"
    ca_file = os.environ.get("APITOKEN_CA_FILE")
    token = token or os.environ.get("APITOKEN_TOKEN")
    config = pathlib.Path(os.environ.get("APITOKEN_SERVICE_CONFIG") or HERE / "../service-config.json")
    options = [
        ("grpc.service_config", config.read_text(encoding="utf-8")),
        ("grpc.service_config_disable_resolution", 1),
    ]
    if not ca_file:
        return grpc.insecure_channel(server, options)
    credentials = grpc.ssl_channel_credentials(pathlib.Path(ca_file).read_bytes())
    if token:
        # gRPC sends it over TLS only.
        credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(token))
    return grpc.secure_channel(server, credentials, options)


@dataclasses.dataclass
class Refusal:
    """A failed call with its details unpacked. Act on `reason`; `domain` is empty when it was not apitokend that
    refused, but the network or gRPC itself."""

    code: str
    domain: str = ""
    reason: str = ""
    sql_state: str = ""
    violations: list[error_details_pb2.BadRequest.FieldViolation] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        text = self.code
        if self.domain:
            text += f" {self.domain}/{self.reason} {self.sql_state}"
        return text + "".join(f" [{violation.field}: {violation.description}]" for violation in self.violations)


def refusal_of(error: grpc.RpcError) -> Refusal:
    """Reads the error that a call raised."""
    refusal = Refusal(code_pb2.Code.Name(error.code().value[0]))
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
            refusal.domain, refusal.reason = info.domain, info.reason
            refusal.sql_state = info.metadata["sql_state"]
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            refusal.violations = list(error_details_pb2.BadRequest.FromString(detail.value).field_violations)
    return refusal
