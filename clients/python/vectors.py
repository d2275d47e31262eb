"""Makes the calls of the vector files named on the command line, and prints the outcome of each."""

import json
import pathlib
import sys
from collections.abc import Callable

import grpc
from google.protobuf import json_format

from client import open_channel, refusal_of
from apitoken.v1 import api_token_service_pb2 as api
from apitoken.v1 import token_verification_service_pb2 as verification
from apitoken.v1.api_token_service_pb2_grpc import ApiTokenServiceStub
from apitoken.v1.token_verification_service_pb2_grpc import TokenVerificationServiceStub

TIMEOUT_SECONDS = 10


class Caller:
    def __init__(self, channel: grpc.Channel) -> None:
        self.tokens = ApiTokenServiceStub(channel)
        self.verifier = TokenVerificationServiceStub(channel)

    def run_file(self, path: str) -> None:
        """A file has one of the four lists."""
        vectors = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        for vector in vectors.get("tokens", []):
            print(f"token, {vector['id']}: {outcome(self.verify, vector['token'])}")
        for vector in vectors.get("names", []):
            print(f"name, {vector['id']}: {outcome(self.create_named, vector['name'])}")
        if "page_sizes" in vectors:
            for number in range(1, 6):
                self.create_named(f"page-{number}")
        for vector in vectors.get("page_sizes", []):
            print(f"page size, {vector['id']}: {outcome(self.pages, vector['page_size'])}")
        for vector in vectors.get("calls", []):
            print(f"call, {vector['id']}: {outcome(self.sequence, [*vector.get('before', []), vector])}")

    def verify(self, token: str) -> str:
        answer = self.verifier.VerifyToken(verification.VerifyTokenRequest(token=token), timeout=TIMEOUT_SECONDS)
        return verification.InactiveReason.Name(answer.reason)

    def create_named(self, name: str) -> str:
        created = self.tokens.CreateToken(api.CreateTokenRequest(name=name), timeout=TIMEOUT_SECONDS)
        return "created" if created.api_token.name == name else "another name"

    def pages(self, size: int) -> str:
        lengths = []
        request = api.ListTokensRequest(page_size=size)
        while True:
            page = self.tokens.ListTokens(request, timeout=TIMEOUT_SECONDS)
            lengths.append(str(len(page.api_tokens)))
            request.page_token = page.next_page_token
            if not request.page_token:
                return " ".join(lengths)

    def sequence(self, calls: list[dict]) -> str:
        """Ends at the first refusal."""
        token = ""
        for call in calls:
            is_verification = call["method"] == "VerifyToken"
            module = verification if is_verification else api
            request = getattr(module, f"{call['method']}Request")()
            json_format.Parse(json.dumps(call["request"]).replace("$TOKEN", token), request)
            method = getattr(self.verifier if is_verification else self.tokens, call["method"])
            token = getattr(method(request, timeout=TIMEOUT_SECONDS), "token", token)
        return "answered"


def outcome(call: Callable, argument: object) -> str:
    try:
        return call(argument)
    except grpc.RpcError as error:
        return str(refusal_of(error))


if __name__ == "__main__":
    with open_channel() as connection:
        caller = Caller(connection)
        for file in sys.argv[1:]:
            caller.run_file(file)
