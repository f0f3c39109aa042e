"""The jsonargparse parser behind every verb that takes a recipe, with our errors.

It lives apart from `parsing` because importing jsonargparse costs more time than `vidnas list` has.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser

from vidnas.base.yaml_text import lines_of
from vidnas.cli.help import HelpAll, choices, help_text, spelt, type_of, type_words
from vidnas.cli.parsing import (
    UsageError,
    suggestion,
    usage_error,
    with_negative_values,
    wrong_choice,
)

_RECIPES = Path(__file__).parent.parent / "recipes"


class ConfigParser(ArgumentParser):
    """A jsonargparse parser that refuses abbreviations and names file, line and key of what it cannot read.

    Options may be written with hyphens or underscores (`--optim.weight-decay`), and without their group where only one
    group has them (`--weight-decay`); keys of files as they are. A recipe is a file, or the name of one that the
    package brings (`--config small`).
    """

    def __init__(self, prog: str, description: str, first: Sequence[str] = (), needs: Sequence[str] = ()) -> None:
        self._config_files: list[str] = []
        self.first, self.needs = first, needs
        super().__init__(prog=prog, description=description, allow_abbrev=False)
        self.add_argument("--help_all", "--help-all", action=HelpAll)
        self.add_argument(
            "--config",
            action="config",
            metavar="RECIPE",
            help="settings: a YAML file, or one that the package brings, such as small (docs/training.md); options win",
        )

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **named: Any) -> Any:
        """Parse options and the recipes that they name; options win wherever they stand."""
        recipes, options = [], []
        tokens = iter(sys.argv[1:] if args is None else args)
        for token in tokens:
            if token == "--config":
                recipes.append(recipe_file(next(tokens, ""), self.prog))
            elif token.startswith("--config="):
                recipes.append(recipe_file(token.partition("=")[2], self.prog))
            else:
                options.append(self._spelt_out(token))
        self._config_files = recipes
        for file in recipes:
            self._check_recipe(file)
        words = [f"--config={recipe}" for recipe in recipes] + with_negative_values(self, options)
        return super().parse_args(words, *rest, **named)

    def read(self, argv: Sequence[str]) -> Any:
        """The settings of a command line as objects, with all that the verb needs."""
        parsed = self.parse_args(argv)
        for name in self.needs:
            if parsed[name] is None:
                raise UsageError(f"{self.prog} needs {spelt(f'--{name}')}; see `{self.prog} --help`")
        return self.instantiate(parsed)

    def format_help(self, *_: Any) -> str:
        """What `--help` prints."""
        return help_text(self, whole=False) + "\n"

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

    def _check_recipe(self, file: str) -> None:
        """Refuse what YAML lets pass and jsonargparse then drops: a key given twice, a value in place of a section."""
        try:
            root = yaml.compose(Path(file).read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise UsageError(f"{file}: not UTF-8 text; save it as such") from error
        except (OSError, yaml.YAMLError):
            return  # told by jsonargparse
        sections = {name.removeprefix("--").partition(".")[0] for name in self._option_string_actions if "." in name}
        waiting = [(root, True)]
        while waiting:
            node, at_top = waiting.pop()
            if not isinstance(node, yaml.MappingNode):
                continue
            seen: set[str] = set()
            for key, value in node.value:
                place = f"{file}, line {key.start_mark.line + 1}: {key.value}"
                if key.value in seen:
                    raise UsageError(f"{place}: given twice; leave one")
                if at_top and key.value in sections and not isinstance(value, yaml.MappingNode):
                    raise UsageError(f"{place}: is a section; write its settings below it, as `  name: value`")
                seen.add(key.value)
                waiting.append((value, False))

    def _explained(self, message: str) -> UsageError:
        if match := re.match(r"Group '(.*)' does not accept option '(.*)'", message):
            return self._unknown_key(f"{match[1]}.{match[2]}")
        if match := re.match(r"Option '(.*)' is not accepted", message):
            return self._unknown_key(match[1])
        if match := re.match(r'Parser key "(.*?)":\s*(.*)', message, re.DOTALL):
            return self._wrong_value(match[1], " ".join(match[2].split()))
        if match := re.match(r"Problems parsing config: (.*?)\s*in \".*\", line (\d+)", message, re.DOTALL):
            what = " ".join(match[1].split())
            return UsageError(f"{', '.join(self._config_files)}, line {match[2]}: not YAML ({what})")
        if message.startswith("Unexpected config"):
            return UsageError(f"{', '.join(self._config_files)}: a recipe is a list of `key: value` lines")
        return usage_error(self, message)

    def _wrong_value(self, key: str, account: str) -> UsageError:
        """The error for a value of the wrong type; jsonargparse's account says which value it was."""
        action = next((action for action in self._actions if action.dest == key), None)
        match = re.search(r"(?:Got|Given) value:(.*)", account)
        if action is None or match is None:
            return UsageError(f"{self._place(key)}: {account}")
        given = match[1].strip() or "''"
        if known := choices(action):
            return wrong_choice(self._place(key), given, known)
        return UsageError(f"{self._place(key)} {given}: give {type_words(type_of(action))}")

    def _unknown_key(self, key: str) -> UsageError:
        keys = [action.dest for action in self._actions if action.option_strings and action.dest != "help"]
        near = suggestion(key, keys)
        hint = f"did you mean {near}?" if near else f"`{self.prog} --help-all` lists the settings"
        return UsageError(f"{self._place(key)}: no such setting; {hint}")

    def _place(self, key: str) -> str:
        """`recipe.yaml, line 3: optim.lr` where a recipe has the key, otherwise the option's name."""
        for name in reversed(self._config_files):
            line = _line_of(key, Path(name))
            if line:
                return f"{name}, line {line}: {key}"
        return f"{self.prog} {spelt(f'--{key}')}"


def recipe_file(name: str, prog: str) -> str:
    """The file of a recipe: `name` itself, or what the package brings under this name.

    Raises:
        UsageError: there is neither.
    """
    brought = sorted(path.stem for path in _RECIPES.glob("*.yaml"))
    if not name:
        raise UsageError(f"{prog} --config: name a recipe (a YAML file, or {', '.join(brought)})")
    if Path(name).is_file():
        return name
    if name in brought:
        return str(_RECIPES / f"{name}.yaml")
    near = suggestion(Path(name).stem, brought)
    hint = f"did you mean {near}?" if near else f"the package brings {', '.join(brought)}"
    kind = "is a folder" if Path(name).is_dir() else "no such file"
    raise UsageError(f"{prog} --config {name}: {kind}, and no recipe of that name; {hint}")


def _line_of(key: str, path: Path) -> int | None:
    """The line (from 1) on which a dotted key stands in a YAML file; None where it does not."""
    parts = key.split(".")
    try:
        lines = lines_of(path.read_text(encoding="utf-8"), parts)
    except (OSError, UnicodeDecodeError):
        return None
    return lines[-1] if len(lines) == len(parts) else None


def make_config_parser(
    verb: str, description: str, *, first: Sequence[str] = (), needs: Sequence[str] = ()
) -> ConfigParser:
    """The parser of `vidnas VERB --config recipe.yaml`: typed settings from files and options alike.

    A jsonargparse parser: add typed dataclasses with `add_class_arguments(Settings, "settings")` and single
    options with `add_argument("--name", type=...)`.

    Args:
        verb: as typed.
        description: what the verb does.
        first: the options that `--help` shows, in this order; all where none are named.
        needs: options that must have a value, from the command line or a recipe.
    """
    return ConfigParser(f"vidnas {verb}", description, first, needs)
