"""Parsers whose every error is one line with the nearest right name, never a usage dump."""

import argparse
import difflib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from vidnas.base.errors import EndedElsewhere, VidnasError
from vidnas.cli.help import HelpAll, help_text, spelt, value_word

_TYPES = {"int": "a whole number", "float": "a number"}


class UsageError(VidnasError):
    """A command line or configuration that cannot be read."""

    exit_code = 2


class Parser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` that refuses abbreviations and raises `UsageError`."""

    first: Sequence[str] = ()
    needs: Sequence[str] = ()

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)
        self.add_argument("--help-all", action=HelpAll)

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
        return super().parse_known_args(with_negative_values(self, args), namespace)

    def format_help(self) -> str:
        """What `--help` prints."""
        return help_text(self, whole=False) + "\n"

    def error(self, message: str) -> NoReturn:
        """Raise argparse's message as one line."""
        raise usage_error(self, message)


def make_parser(verb: str, description: str) -> Parser:
    """The parser of `vidnas VERB`, for verbs with a handful of options."""
    return Parser(f"vidnas {verb}", description)


@contextmanager
def errors_on_rank_zero() -> Iterator[None]:
    """Where all processes of a run fail alike, before they have met: only the first one says so."""
    try:
        yield
    except VidnasError as error:
        if os.environ.get("RANK", "0") == "0":
            raise
        raise EndedElsewhere(error.exit_code) from error


def positive(text: str) -> int:
    """The type of an option that counts something."""
    return _whole(text, 1, "a whole number above 0")


def natural(text: str) -> int:
    """The type of an option that may also be none of something."""
    return _whole(text, 0, "a whole number, 0 or more")


def new_folder(text: str) -> str:
    """The type of an option that names a folder to be made: `new/sub/..` is `new`, and makes no `new/sub`."""
    return os.path.realpath(text) if ".." in Path(text).parts else text


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """The known name nearest to a misspelt one."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return near[0] if near else None


def with_negative_values(parser: argparse.ArgumentParser, args: Sequence[str]) -> list[str]:
    """`--target-macs -5M` as `--target-macs=-5M`: on its own argparse takes such a value for an option."""
    joined: list[str] = []
    for token in args:
        before = joined[-1] if joined else ""
        action = parser._option_string_actions.get(before)
        if action is not None and action.nargs is None and re.match(r"-\.?\d", token):
            joined[-1] = f"{before}={token}"
        else:
            joined.append(token)
    return joined


def unknown_option(parser: argparse.ArgumentParser, option: str) -> UsageError:
    """The error for an option that the parser does not have."""
    near = _nearest(spelt(option), [spelt(name) for name in parser._option_string_actions])
    hint = f"did you mean {' or '.join(near)}?" if near else f"`{parser.prog} --help-all` lists the options"
    return UsageError(f"{parser.prog} has no option {option}; {hint}")


def _nearest(wanted: str, known: Sequence[str]) -> list[str]:
    """The options that a wrong one may stand for: in a group, with more words, or spelt alike."""
    word = wanted.removeprefix("--")
    by_word: dict[str, list[str]] = {}
    for name in known:
        # The last part of `--search.epochs` may be meant alone.
        for part in {name.removeprefix("--"), name.rpartition(".")[2].removeprefix("--")}:
            by_word.setdefault(part, []).append(name)
    longer = [name for name in known if name.startswith(f"{wanted.removesuffix('s')}-")]
    return by_word.get(word) or longer or by_word.get(suggestion(word, by_word) or "", [])


def usage_error(parser: argparse.ArgumentParser, message: str) -> UsageError:
    """argparse's message in our words, as one line."""
    see = f"see `{parser.prog} --help`"
    message = " ".join(message.split())
    if match := re.match(r"unrecognized arguments: (\S+)", message):
        if match[1].startswith("-"):
            return unknown_option(parser, match[1].partition("=")[0])
        hint = "an amount has no blank in it, as 50M" if match[1] in ("k", "K", "m", "M", "g", "G") else see
        return UsageError(f"{parser.prog} does not know what to do with {match[1]!r}; {hint}")
    if match := re.match(r"the following arguments are required: (.*)", message):
        return UsageError(f"{parser.prog} needs {_as_typed(parser, match[1])}; {see}")
    if not (match := re.match(r"argument (\S+?)(?:/\S+)?: (.*)", message)):
        return UsageError(f"{parser.prog}: {message}; {see}")
    option, what = spelt(match[1]), match[2]
    place = f"{parser.prog} {option}"
    if what.startswith("expected") and (action := parser._option_string_actions.get(match[1])):
        return UsageError(f"{place}: a value is missing; give {value_word(action)} ({(action.help or '').strip('.')})")
    if match := re.match(r"invalid choice: '(.*?)' \(choose from (.*)\)", what):
        return wrong_choice(place, match[1], re.findall(r"[^\s',]+", match[2]))
    if match := re.match(r"invalid (\w+) value: '(.*)'", what):
        return UsageError(f"{place} {match[2]}: give {_TYPES.get(match[1], 'another value')}")
    if match := re.match(r"ignored explicit argument '(.*)'", what):
        return UsageError(f"{place} takes no value; leave out {match[1]!r}")
    return UsageError(f"{place} {what}")


def wrong_choice(place: str, given: str, known: Sequence[str]) -> UsageError:
    """The error for a value that is none of those to choose from."""
    near = suggestion(given, known)
    return UsageError(f"{place} {given}: give one of {', '.join(known)}" + (f"; did you mean {near}?" if near else ""))


def _whole(text: str, least: int, what: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text}: give {what}")
    return int(text)


def _as_typed(parser: argparse.ArgumentParser, names: str) -> str:
    """Required names as the user would type them: jsonargparse names keys, argparse options."""
    options = {action.dest: action.option_strings[-1] for action in parser._actions if action.option_strings}
    return ", ".join(options.get(name, name) for name in names.split(", "))
