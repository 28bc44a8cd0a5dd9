"""One table from domain errors to status codes; every non-OK tells the same way what is wrong."""

from __future__ import annotations

import logging

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from memd_client.errors import BY_REASON, VersionConflict, from_status

from memd.domain import errors
from memd.rpc.status import STATUS, Failure, code_of, failure, settle


def _classes() -> list[type[errors.MemdError]]:
    return [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, errors.MemdError)]


def _details(found: Failure) -> tuple[list[str], status_pb2.Status]:
    status = status_pb2.Status.FromString(found.details)
    return [detail.TypeName().rpartition(".")[2] for detail in status.details], status


async def _raise(exc: BaseException) -> bytes:
    raise exc


@pytest.mark.parametrize("kind", _classes(), ids=lambda kind: kind.__name__)
def test_every_domain_error_has_its_row(kind: type[errors.MemdError]) -> None:
    assert kind in STATUS, f"{kind.__name__} has no row in the status table"


def test_no_row_is_without_its_error() -> None:
    assert set(STATUS) == set(_classes())


def test_reasons_are_unique_and_known_to_the_client() -> None:
    reasons = [kind.reason for kind in _classes()]
    assert len(set(reasons)) == len(reasons)
    assert set(reasons) - {"CONFIG"} <= set(BY_REASON)


def test_a_subclass_without_a_row_takes_its_parents_code() -> None:
    class NewBusy(errors.StoreBusy):
        pass

    assert code_of(NewBusy("x")) is grpc.StatusCode.UNAVAILABLE


def test_invalid_argument_names_the_field() -> None:
    names, status = _details(failure(errors.InvalidArgument("too long", field="memories[3].content")))
    assert names == ["ErrorInfo", "BadRequest"]
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    status.details[0].Unpack(info)
    status.details[1].Unpack(bad)
    assert (info.domain, info.reason) == ("memd", "INVALID_ARGUMENT")
    assert bad.field_violations[0].field == "memories[3].content"


def test_overload_says_when_to_come_back_and_a_full_stock_does_not() -> None:
    names, status = _details(failure(errors.LimitExceeded("busy", retry_after_s=0.25)))
    assert names == ["ErrorInfo", "RetryInfo"]
    retry = error_details_pb2.RetryInfo()
    status.details[1].Unpack(retry)
    assert (retry.retry_delay.seconds, retry.retry_delay.nanos) == (0, 250_000_000)
    assert _details(failure(errors.LimitExceeded("full")))[0] == ["ErrorInfo"]


def test_the_client_rebuilds_the_conflict_with_the_current_version() -> None:
    made = failure(errors.VersionConflict("stale", current_version=7))
    rebuilt = from_status(made.code, made.message, made.trailers)
    assert isinstance(rebuilt, VersionConflict)
    assert rebuilt.current_version == 7


async def test_a_bug_is_internal_with_a_fixed_text_and_an_id_that_is_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        found = await settle(_raise(ValueError("CANARY-42")), "/memd.v1.X/Y")
    assert isinstance(found, Failure)
    assert found.code is grpc.StatusCode.INTERNAL
    names, status = _details(found)
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    assert names == ["ErrorInfo"]
    assert "CANARY-42" not in found.message
    assert b"CANARY-42" not in found.details
    assert info.metadata["error_id"] in found.message
    assert caplog.records[0].fields["error_id"] == info.metadata["error_id"]  # type: ignore[attr-defined]


async def test_the_root_error_is_internal_and_its_text_stays_inside() -> None:
    found = await settle(_raise(errors.MemdError("CANARY-43")), "m")
    assert isinstance(found, Failure)
    assert found.code is grpc.StatusCode.INTERNAL
    assert "CANARY-43" not in found.message
