"""Types of settings with their limits, and the check of settings that come from Python rather than from a parser."""

from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from vidnas.base.errors import VidnasError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
AboveZero = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
# At least 0 and below 1.
Share = Annotated[float, Field(ge=0, lt=1)]

_WORDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def limits_in_words(hint: Any) -> str:
    """`at least 0 and below 1`, `above 0, or null`; empty for a type without limits."""
    parts = get_args(hint) if type(None) in get_args(hint) else (hint,)
    limits = [
        f"{words} {getattr(limit, name):g}"
        for part in parts
        for annotation in get_args(part)[1:]
        for limit in getattr(annotation, "metadata", ())
        for name, words in _WORDS.items()
        if hasattr(limit, name)
    ]
    return " and ".join(limits) + (", or null" if limits and len(parts) > 1 else "")


def check_limits(settings: "DataclassInstance", group: str) -> None:
    """Check the fields of a dataclass against the limits of their types.

    Args:
        settings: its values.
        group: name of the group of options, for the message.

    Raises:
        VidnasError: `train.epochs: must be at least 1 (got 0)`.
    """
    hints = get_type_hints(type(settings), include_extras=True)
    for field in fields(settings):
        rule = limits_in_words(hints[field.name])
        if not rule:
            continue
        value = getattr(settings, field.name)
        try:
            _adapter(hints[field.name]).validate_python(value)
        except ValidationError as error:
            raise VidnasError(f"{group}.{field.name}: must be {rule} (got {value!r})") from error


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)
