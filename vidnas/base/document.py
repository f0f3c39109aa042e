"""Frozen, validated data that lives in JSON or YAML files: what a spec and a search space have in common.

PyYAML is loaded with the first text: a sixth of the time of `vidnas list`, which reads none.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from vidnas.base.errors import VidnasError
from vidnas.base.mistakes import first_mistake

FILE_SUFFIXES = (".json", ".yaml", ".yml")


class Frozen(BaseModel):
    """Base of all specs: immutable; an unknown field, an infinity or a NaN is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Document(Frozen):
    """A tree of specs that is a file of its own.

    Attributes:
        what: names its kind in messages.
        on_lists: said of a list or mapping where one value is due.
    """

    what: ClassVar[str]
    on_lists: ClassVar[str | None] = None

    @property
    def content_hash(self) -> str:
        """12 hex digits over everything but the name and fields at their defaults, so that a new field with a default
        changes no hash."""
        content = {name: value for name, value in _content(self).items() if name != "name"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """Indented JSON; `from_json` gives an equal one back."""
        return self.model_dump_json(indent=2) + "\n"

    def to_yaml(self) -> str:
        """YAML for people to edit; `from_yaml` gives an equal one back."""
        from vidnas.base.yaml_text import to_yaml

        return to_yaml(self.model_dump(mode="json"))

    @classmethod
    def from_json(cls, text: str, source: str | None = None) -> Self:
        """Parse and validate; `source` names the text in messages.

        Raises:
            VidnasError: not JSON, or a field that breaks a rule; the message names it and its line.
        """
        from vidnas.base.yaml_text import parse_json

        return cls.from_data(parse_json(text, source or cls.what), source, text)

    @classmethod
    def from_yaml(cls, text: str, source: str | None = None) -> Self:
        """As `from_json`, for YAML."""
        from vidnas.base.yaml_text import parse_yaml

        return cls.from_data(parse_yaml(text, source or cls.what), source, text)

    @classmethod
    def from_data(cls, data: Any, source: str | None = None, text: str | None = None) -> Self:
        """Validate a tree of dicts and lists; messages name lines of the `text` that it was read from."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            from vidnas.base.yaml_text import lines_of

            path, rule = first_mistake(error, cls, cls.on_lists)
            lines = [] if text is None else lines_of(text, path) or [1]
            place = "".join([source or cls.what, *(f", line {line}" for line in lines[-1:])])
            field = ".".join(map(str, path)) or cls.what
            raise VidnasError(f"{place}: {field}: {rule}") from error

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file: JSON if its name ends so, otherwise YAML."""
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise VidnasError(f"{path}: cannot read the {cls.what} ({reason})") from error
        return cls.from_json(text, str(path)) if Path(path).suffix == ".json" else cls.from_yaml(text, str(path))


def _content(value: Any) -> Any:
    """A tree of specs as builtins, without fields at their defaults.

    `kind` stays, as it tells one spec from another with the same fields.
    """
    if isinstance(value, BaseModel):
        given = ((name, getattr(value, name), default) for name, default in _defaults(type(value)))
        return {name: _content(own) for name, own, default in given if own != default}
    if isinstance(value, tuple):
        return [_content(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _content(item) for key, item in value.items()}
    return value


@cache
def _defaults(spec: type[BaseModel]) -> tuple[tuple[str, Any], ...]:
    """Names of all fields, with what they may be left out at; an object that nothing equals for the others."""
    return tuple(
        (name, object() if name == "kind" or field.is_required() else field.get_default())
        for name, field in spec.model_fields.items()
    )
