"""Calls every method that most programs need, and prints what it saw."""

import os
import uuid

import grpc
from google.protobuf.duration_pb2 import Duration

from client import open_channel, refusal_of
from apitoken.v1 import api_token_service_pb2 as api
from apitoken.v1 import token_verification_service_pb2 as verification
from apitoken.v1.api_token_service_pb2_grpc import ApiTokenServiceStub
from apitoken.v1.token_verification_service_pb2_grpc import TokenVerificationServiceStub

TIMEOUT_SECONDS = 5


def main() -> None:
    with open_channel() as channel:
        tokens = ApiTokenServiceStub(channel)
        verifier = TokenVerificationServiceStub(channel)
        created = create(tokens)
        list_pages(tokens)
        current = renew(tokens)
        revoke(tokens, "tour-5")
        verify(verifier, "the current token", current)
        verify(verifier, "the previous token", created[0])
        verify(verifier, "a revoked token", created[4])
        verify(verifier, "what is no token", current + "x")
        refusals(tokens)
        if os.environ.get("APITOKEN_CA_FILE"):
            as_token_itself(current)
        for name in ("tour-1", "tour-2", "tour-3", "tour-4"):
            revoke(tokens, name)


def create(tokens: ApiTokenServiceStub) -> list[str]:
    """Five tokens. A request_id makes each call safe to retry, by the service config or by you."""
    secrets = []
    for number in range(1, 6):
        request = api.CreateTokenRequest(
            name=f"tour-{number}",
            ttl=Duration(seconds=3600),
            request_id=str(uuid.uuid4()),
        )
        created = tokens.CreateToken(request, timeout=TIMEOUT_SECONDS)
        token = created.api_token
        lifetime = token.expire_time.ToDatetime() - token.create_time.ToDatetime()
        print(f"created {token.name}: generation {token.generation}, lives {lifetime.total_seconds():.0f} s")
        secrets.append(created.token)
    return secrets


def list_pages(tokens: ApiTokenServiceStub) -> None:
    """Page after page until there is no next one."""
    request = api.ListTokensRequest(page_size=2)
    while True:
        page = tokens.ListTokens(request, timeout=TIMEOUT_SECONDS)
        print("page:", *(token.name for token in page.api_tokens))
        request.page_token = page.next_page_token
        if not request.page_token:
            return


def renew(tokens: ApiTokenServiceStub) -> str:
    """The same call twice, as a client makes it that lost the first answer."""
    request = api.RenewTokenRequest(
        name="tour-1",
        grace_period=Duration(seconds=60),
        request_id=str(uuid.uuid4()),
    )
    first = tokens.RenewToken(request, timeout=TIMEOUT_SECONDS)
    token = first.api_token
    grace = token.previous_secret_expire_time.ToDatetime() - token.create_time.ToDatetime()
    print(
        f"renewed {token.name}: generation {token.generation}, "
        f"the old secret works for {grace.total_seconds():.0f} s"
    )
    second = tokens.RenewToken(request, timeout=TIMEOUT_SECONDS)
    same, replayed = (str(value).lower() for value in (first.token == second.token, second.replayed))
    print(f"renewed with the same request_id: same token {same}, replayed {replayed}")
    return second.token


def verify(verifier: TokenVerificationServiceStub, title: str, token: str) -> None:
    """Asks as a gateway does. A dead token is an answer; an error means that nothing is known: let nobody in."""
    try:
        answer = verifier.VerifyToken(verification.VerifyTokenRequest(token=token), timeout=TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        print(f"verified {title}: {refusal_of(error)}")
        return
    if answer.active:
        print(f"verified {title}: {verification.Secret.Name(answer.secret)} of {answer.api_token.name}")
    else:
        print(f"verified {title}: {verification.InactiveReason.Name(answer.reason)}")


def refusals(tokens: ApiTokenServiceStub) -> None:
    """Calls that fail, each in its own way."""
    try:
        tokens.GetToken(api.GetTokenRequest(name="tour-6"), timeout=TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        print(f"refused a name that is not there: {refusal_of(error)}")
    try:
        tokens.RenewToken(api.RenewTokenRequest(grace_period=Duration(seconds=8 * 86400)), timeout=TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        print(f"refused two bad fields: {refusal_of(error)}")
    try:
        tokens.GetToken(api.GetTokenRequest(name="tour-1"), timeout=-1)
    except grpc.RpcError as error:
        print(f"out of time: {refusal_of(error).code}")


def as_token_itself(token: str) -> None:
    """Calls with the API token as its own credential."""
    with open_channel(token) as channel:
        tokens = ApiTokenServiceStub(channel)
        itself = tokens.GetToken(api.GetTokenRequest(name="tour-1"), timeout=TIMEOUT_SECONDS).api_token
        print(f"as the token itself: {itself.name}, generation {itself.generation}")
        request = api.CreateTokenRequest(name="tour-6", request_id=str(uuid.uuid4()))
        try:
            tokens.CreateToken(request, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            print(f"refused a token that would create: {refusal_of(error)}")


def revoke(tokens: ApiTokenServiceStub, name: str) -> None:
    """The service config does not retry it: after UNAVAILABLE retry, and take NOT_FOUND for success."""
    revoked = tokens.RevokeToken(api.RevokeTokenRequest(name=name), timeout=TIMEOUT_SECONDS)
    print(f"revoked {revoked.api_token.name}")


if __name__ == "__main__":
    main()
