"""Parsers whose every error is one line with the nearest right name, never a usage dump."""

import argparse
import difflib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from vidnas.errors import EndedElsewhere, VidnasError

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser


class UsageError(VidnasError):
    """A command line or configuration that cannot be read."""

    exit_code = 2


class Parser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` that refuses abbreviations and raises `UsageError`."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str], namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse, but a misspelt option is named before whatever is missing because of it."""
        for token in args:
            if token == "--":
                break
            option = token.partition("=")[0]
            if option.startswith("--") and option not in self._option_string_actions:
                raise unknown_option(self, option)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise argparse's message as one line."""
        raise usage_error(self, message)


def make_parser(verb: str, description: str) -> Parser:
    """The parser of `vidnas VERB`, for verbs with a handful of options."""
    return Parser(f"vidnas {verb}", description)


def make_config_parser(verb: str, description: str) -> "ConfigParser":
    """The parser of `vidnas VERB --config recipe.yaml`: typed settings from files and options alike.

    A jsonargparse parser: add typed dataclasses with `add_class_arguments(Settings, "settings")` and single
    options with `add_argument("--name", type=...)`.
    """
    from vidnas.cli.config_parser import ConfigParser

    return ConfigParser(f"vidnas {verb}", description)


@contextmanager
def told_by_the_first() -> Iterator[None]:
    """Where all processes of a run fail alike, before they have met: only the first one says so."""
    try:
        yield
    except VidnasError as error:
        if os.environ.get("RANK", "0") == "0":
            raise
        raise EndedElsewhere(error.exit_code) from error


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """The known name nearest to a misspelt one."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return near[0] if near else None


def unknown_option(parser: argparse.ArgumentParser, option: str) -> UsageError:
    """The error for an option that the parser does not have."""
    near = suggestion(option, parser._option_string_actions)
    hint = f"did you mean {near}?" if near else f"`{parser.prog} --help` lists the options"
    return UsageError(f"{parser.prog} has no option {option}; {hint}")


def usage_error(parser: argparse.ArgumentParser, message: str) -> UsageError:
    """argparse's message in our words, as one line."""
    if match := re.match(r"unrecognized arguments: (\S+)", message):
        if match[1].startswith("-"):
            return unknown_option(parser, match[1].partition("=")[0])
        return UsageError(f"{parser.prog} does not know what to do with {match[1]!r}; see `{parser.prog} --help`")
    if match := re.match(r"the following arguments are required: (.*)", message, re.DOTALL):
        return UsageError(f"{parser.prog} needs {_as_typed(parser, match[1])}; see `{parser.prog} --help`")
    near = None
    if match := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
        near = suggestion(match[1], re.findall(r"[^\s',]+", match[2]))
    hint = f"did you mean {near}?" if near else f"see `{parser.prog} --help`"
    return UsageError(f"{parser.prog}: {' '.join(message.split())}; {hint}")


def _as_typed(parser: argparse.ArgumentParser, names: str) -> str:
    """Required names as the user would type them: jsonargparse names keys, argparse options."""
    options = {action.dest: action.option_strings[-1] for action in parser._actions if action.option_strings}
    return ", ".join(options.get(name, name) for name in names.split(", "))
