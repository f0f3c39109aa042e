"""Frozen, validated data that lives in JSON files: what a spec and a search space have in common."""

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from vidnas.errors import VidnasError


class Frozen(BaseModel):
    """Base of all specs: immutable; an unknown field, an infinity or a NaN is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Document(Frozen):
    """A tree of specs that is a file of its own; `what` names its kind in messages."""

    what: ClassVar[str]

    @property
    def content_hash(self) -> str:
        """12 hex digits over everything but the name."""
        canonical = json.dumps(self.model_dump(mode="json", exclude={"name"}), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """Indented JSON; `from_json` gives an equal one back."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str | None = None) -> Self:
        """Parse and validate; `source` names the text in messages.

        Raises:
            VidnasError: not JSON, or a field that breaks a rule; the message names both.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise VidnasError(f"{source or cls.what}, line {error.lineno}: not JSON ({error.msg})") from error
        return cls.from_data(data, source)

    @classmethod
    def from_data(cls, data: Any, source: str | None = None) -> Self:
        """Validate a tree of dicts and lists, as from JSON."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise VidnasError(f"{source or cls.what}: {explain(error)}") from error

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file."""
        try:
            text = Path(path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise VidnasError(f"{path}: cannot read the {cls.what} ({reason})") from error
        return cls.from_json(text, str(path))


def explain(error: ValidationError) -> str:
    """The first broken rule of a validation error as `field: rule`, and how many more there are."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    rule = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    shown = f" (got {given!r})" if isinstance(given, int | float | str) else ""
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{field}: {rule}{shown}{more}" if field else f"{rule}{more}"
