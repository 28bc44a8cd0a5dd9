"""Proto Filter to domain Filter, with its bounds: depth, nodes, values, known fields, kinds of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memd_client._proto.v1 import common_pb2 as pb

from memd.domain.errors import InvalidArgument
from memd.domain.filters import (
    METADATA_PREFIX,
    TIME_FIELDS,
    And,
    Compare,
    ComparisonOp,
    Exists,
    Filter,
    In,
    Not,
    Or,
    Scalar,
    check_field,
)
from memd.limits import MAX_FILTER_DEPTH, MAX_FILTER_NODES, MAX_FILTER_VALUES, MAX_ID_BYTES, MAX_NAME_BYTES
from memd.rpc import checks

_OPS: Mapping[int, ComparisonOp] = {
    pb.Comparison.OP_EQ: "eq",
    pb.Comparison.OP_NE: "ne",
    pb.Comparison.OP_LT: "lt",
    pb.Comparison.OP_LE: "le",
    pb.Comparison.OP_GT: "gt",
    pb.Comparison.OP_GE: "ge",
}
_MAX_VALUE_BYTES = 4 * MAX_ID_BYTES  # no field but metadata holds longer strings, and those are not made for matching


def parse(message: pb.Filter, path: str = "filter") -> Filter:
    """InvalidArgument for anything the grammar of ``memd.domain.filters`` does not have, or that is out of bounds."""
    return _Parser().filter(message, path, depth=1)


class _Parser:
    def __init__(self) -> None:
        self._nodes = 0
        self._values = 0

    def filter(self, message: pb.Filter, path: str, depth: int) -> Filter:
        self._nodes += 1
        if self._nodes > MAX_FILTER_NODES:
            raise InvalidArgument(f"a filter has at most {MAX_FILTER_NODES} nodes", field="filter")
        if depth > MAX_FILTER_DEPTH:
            raise InvalidArgument(f"a filter is at most {MAX_FILTER_DEPTH} deep", field="filter")
        kind = message.WhichOneof("node")
        match kind:
            case "and":
                return And(self._all(getattr(message, "and").filters, f"{path}.and", depth))
            case "or":
                return Or(self._all(getattr(message, "or").filters, f"{path}.or", depth))
            case "not":
                return Not(self.filter(getattr(message, "not"), f"{path}.not", depth + 1))
            case "compare":
                return self._compare(message.compare, f"{path}.compare")
            case "in":
                return self._in(getattr(message, "in"), f"{path}.in")
            case "exists":
                return Exists(_field(message.exists, f"{path}.exists"))
        raise InvalidArgument(f"{path} must have exactly one known operator", field=path)

    def _all(self, parts: Sequence[pb.Filter], path: str, depth: int) -> tuple[Filter, ...]:
        return tuple(self.filter(part, f"{path}[{index}]", depth + 1) for index, part in enumerate(parts))

    def _compare(self, message: pb.Comparison, path: str) -> Filter:
        field = _field(message.field, f"{path}.field")
        op = checks.choice(message.op, f"{path}.op", _OPS)
        return Compare(op, field, self._value(field, message.value, f"{path}.value"))

    def _in(self, message: pb.Membership, path: str) -> Filter:
        field = _field(message.field, f"{path}.field")
        values = (self._value(field, v, f"{path}.values[{index}]") for index, v in enumerate(message.values))
        return In(field, tuple(values))

    def _value(self, field: str, message: pb.FilterValue, path: str) -> Scalar:
        self._values += 1
        if self._values > MAX_FILTER_VALUES:
            raise InvalidArgument(f"a filter has at most {MAX_FILTER_VALUES} values", field="filter")
        kind = message.WhichOneof("kind")
        if (kind == "time_value") != (field in TIME_FIELDS):
            raise InvalidArgument(f"{path}: times compare with time fields, and those with nothing else", field=path)
        match kind:
            case "string_value":
                return checks.fits(message.string_value, path, _MAX_VALUE_BYTES)
            case "number_value":
                return checks.finite(message.number_value, path)
            case "bool_value":
                return message.bool_value
            case "time_value":
                return checks.time(message.time_value, path)
        raise InvalidArgument(f"{path} is required", field=path)


def _field(name: str, path: str) -> str:
    checks.identifier(name, path, len(METADATA_PREFIX) + MAX_NAME_BYTES)
    check_field(name, path)
    return name
