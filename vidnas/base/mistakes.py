"""What a validation error says to the one who wrote the file: which field, which rule, how to mend it."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

FieldPath = Sequence[str | int]

# Rules about a value as a whole: there a list is what was asked for.
_LISTS_EXPECTED = ("value_error", "too_short", "too_long", "tuple_type", "missing")


class FieldError(ValueError):
    """A broken rule of a field that lies below what a validator looks at; `path` leads to it from there."""

    def __init__(self, path: FieldPath, rule: str) -> None:
        super().__init__(rule)
        self.path = tuple(path)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first broken rule as `field: rule`, and how many more there are."""
    path, rule = first_mistake(error, model)
    return f"{'.'.join(map(str, path))}: {rule}" if path else rule


def first_mistake(error: ValidationError, model: type[BaseModel], on_lists: str | None = None) -> tuple[FieldPath, str]:
    """Path and rule of the first broken rule, with the number of further ones.

    Args:
        error: of validation.
        model: what it was validated against, to suggest the nearest field.
        on_lists: what is said of a list or mapping where one value is due.
    """
    errors = error.errors()
    # A list with a wrong entry counts as empty too.
    details = [one for one in errors if one["type"] != "too_short" or not _below(one["loc"], errors)]
    # A misspelt field is missing too, but the misspelling is what to look at.
    details.sort(key=lambda one: one["type"] != "extra_forbidden")
    path, rule = _broken(details[0], model, on_lists)
    return path, rule + (f" (and {len(details) - 1} more)" if len(details) > 1 else "")


def _broken(detail: ErrorDetails, model: type[BaseModel], on_lists: str | None) -> tuple[FieldPath, str]:
    cause = detail.get("ctx", {}).get("error")
    path = (*detail["loc"], *cause.path) if isinstance(cause, FieldError) else detail["loc"]
    kind, given = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(path[-1]), _fields(model, path[:-1]), n=1)
        return path, "no such field" + (f"; did you mean {near[0]}?" if near else "")
    if on_lists and path and isinstance(given, list | dict) and kind not in _LISTS_EXPECTED:
        return path, on_lists
    if kind == "model_type":
        fields = ", ".join(_fields(model, path))
        return path, f"{'is empty' if given is None else 'is not a mapping'}; its fields are {fields}"
    if given is None and kind.endswith("_type"):
        return path, "is empty"
    if kind == "tuple_type":
        return path, "must be a list"
    shown = f" (got {given!r})" if isinstance(given, int | float | str) else ""
    return path, detail["msg"].removeprefix("Value error, ") + shown


def _below(path: FieldPath, errors: list[ErrorDetails]) -> bool:
    return any(len(one["loc"]) > len(path) and one["loc"][: len(path)] == path for one in errors)


def _fields(model: type[BaseModel], path: FieldPath) -> list[str]:
    """The fields that a mapping at this path may have."""
    for part in path:
        if isinstance(part, str):
            model = next(_models(model.model_fields[part].annotation))
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
