"""The jsonargparse parser behind every verb that takes a recipe, with our errors.

It lives apart from `parsing` because importing jsonargparse costs more time than `vidnas list` has.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from vidnas.arch.yaml_text import lines_of
from vidnas.cli.parsing import UsageError, suggestion, usage_error


class ConfigParser(ArgumentParser):
    """A jsonargparse parser that refuses abbreviations and names file, line and key of what it cannot read.

    Options may be written with hyphens or underscores (`--optim.weight-decay`), and without their group where only one
    group has them (`--weight-decay`); keys of files as they are. A recipe is a file, or the name of one that the
    package brings (`--config small`).
    """

    def __init__(self, prog: str, description: str) -> None:
        self._config_files: list[str] = []
        super().__init__(prog=prog, description=description, allow_abbrev=False)
        self.add_argument(
            "--config",
            action="config",
            help="Recipe: a YAML file, or one that the package brings, such as small (docs/training.md); options win.",
        )

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **named: Any) -> Any:
        """Parse options and the recipes that they name; options win wherever they stand."""
        recipes, options = [], []
        tokens = iter(sys.argv[1:] if args is None else args)
        for token in tokens:
            if token == "--config":
                recipes.append(f"--config={recipe_file(next(tokens, ''))}")
            elif token.startswith("--config="):
                recipes.append(f"--config={recipe_file(token.partition('=')[2])}")
            else:
                options.append(self._spelt_out(token))
        self._config_files = [recipe.partition("=")[2] for recipe in recipes]
        if "" in self._config_files:
            raise UsageError(f"{self.prog} --config: name a recipe (a YAML file)")
        return super().parse_args(recipes + options, *rest, **named)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise jsonargparse's message as one line."""
        raise self._explained(message) from ex

    def _spelt_out(self, token: str) -> str:
        option, equals, value = token.partition("=")
        known = self._option_string_actions
        if not option.startswith("--") or option in known:
            return token
        spelt = "--" + option[2:].replace("-", "_")
        if spelt not in known:
            grouped = [name for name in known if name.endswith(f".{spelt[2:]}")]
            spelt = grouped[0] if len(grouped) == 1 else option
        return spelt + equals + value

    def _explained(self, message: str) -> UsageError:
        if match := re.match(r"Group '(.*)' does not accept option '(.*)'", message):
            return self._unknown_key(f"{match[1]}.{match[2]}")
        if match := re.match(r"Option '(.*)' is not accepted", message):
            return self._unknown_key(match[1])
        if match := re.match(r'Parser key "(.*?)":\s*(.*)', message, re.DOTALL):
            return UsageError(f"{self._place(match[1])}: {_rule(match[2])}")
        if match := re.match(r"Problems parsing config: (.*?)\s*in \".*\", line (\d+)", message, re.DOTALL):
            what = " ".join(match[1].split())
            return UsageError(f"{', '.join(self._config_files)}, line {match[2]}: not YAML ({what})")
        if message.startswith("Unexpected config"):
            return UsageError(f"{', '.join(self._config_files)}: a recipe is a list of `key: value` lines")
        return usage_error(self, message)

    def _unknown_key(self, key: str) -> UsageError:
        keys = [action.dest for action in self._actions if action.option_strings and action.dest != "help"]
        near = suggestion(key, keys)
        hint = f"did you mean {near}?" if near else f"`{self.prog} --help` lists the settings"
        return UsageError(f"{self._place(key)}: no such setting; {hint}")

    def _place(self, key: str) -> str:
        """`recipe.yaml, line 3: optim.lr` where a recipe has the key, otherwise the option's name."""
        for name in reversed(self._config_files):
            line = _line_of(key, Path(name))
            if line:
                return f"{name}, line {line}: {key}"
        return f"{self.prog} --{key}"


def recipe_file(name: str) -> str:
    """The file of a recipe that the package brings, or `name` itself where it names none."""
    brought = Path(__file__).parent.parent / "recipes" / f"{name}.yaml"
    return str(brought) if re.fullmatch(r"\w+", name) and brought.is_file() and not Path(name).exists() else name


def _rule(text: str) -> str:
    """jsonargparse's account of a wrong value, as `expected int, got many`."""
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", " ".join(text.split()))
    if match := re.match(r"Does not validate against any of the Union subtypes Subtypes: \[(.*?)\] Errors", text):
        given = text.rpartition("Given value: ")[2]
        return f"expected {match[1].replace('NoneType', 'null').replace(', ', ' or ')}, got {given}"
    if match := re.match(r"Expected an? (?:typing\.Literal\[(.*?)\]|(.*?))\. Got value: (.*)", text):
        return f"expected {f'one of {match[1]}' if match[1] else match[2]}, got {match[3]}"
    return text


def _line_of(key: str, path: Path) -> int | None:
    """The line (from 1) on which a dotted key stands in a YAML file; None where it does not."""
    parts = key.split(".")
    try:
        lines = lines_of(path.read_text(encoding="utf-8"), parts)
    except (OSError, UnicodeDecodeError):
        return None
    return lines[-1] if len(lines) == len(parts) else None
