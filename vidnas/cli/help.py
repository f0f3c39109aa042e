"""What `--help` and `--help-all` print: options as one types them, and what to write behind each, in words."""

import argparse
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Any, Literal, Protocol, Union, get_args, get_origin

from vidnas.base.limits import limits_in_words

_COLUMN = 30
_WIDEST = 100
_OF_TYPE: dict[Any, tuple[str, str]] = {
    int: ("NUMBER", "a whole number"),
    float: ("NUMBER", "a number"),
    bool: ("true|false", "true or false"),
    dict: ("FILE", "settings"),
}
# Settings of recipes about which the name says more than the type.
_OF_NAME = dict.fromkeys(
    ("warmup_fraction", "min_effective", "max_broken", "val_fraction", "momentum", "label_smoothing", "ema", "erase"),
    "FRACTION",
)
_OF_NAME |= dict.fromkeys(("jitter", "tempo", "aspect"), "[LOW,HIGH]")
_OF_NAME |= {"flip": "off|on|PAIRS", "augment": "off|auto|rand", "cache_dir": "FOLDER", "baselines": "NAMES"}


class HelpParser(Protocol):
    """A parser that says which of its options come first; none stands for all."""

    prog: str
    description: str | None
    first: Sequence[str]
    needs: Sequence[str]
    _actions: list[argparse.Action]
    _action_groups: Any


class HelpAll(argparse.Action):
    """`--help-all`: every option there is."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=argparse.SUPPRESS)

    def __call__(self, parser: Any, *_: Any) -> None:
        """Print and leave, as `--help` does."""
        print(help_text(parser, whole=True))
        parser.exit()


def asks_for_first(argv: Sequence[str]) -> bool:
    """Whether the command line wants the short help, which needs no setting and so none of what defines them."""
    return any(word in ("-h", "--help") for word in argv)


def help_text(parser: HelpParser, *, whole: bool) -> str:
    """Usage, purpose, and the options that people need first, or all of them in their groups."""
    lines = [_usage(parser), "", *_wrapped(parser.description or "", 0)]
    if parser.first and not whole:
        by_name = {action.dest: action for action in parser._actions}
        lines += ["", *(line for name in parser.first for line in _entry(by_name[name]))]
        lines += ["", f"`{parser.prog} --help-all` lists all other options."]
        return "\n".join(lines)
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if _is_shown(action)]
        if actions:
            heading, dot, _ = actions[-1].dest.partition(".")
            lines += ["", *(_wrapped(f"{heading}: {group.title}", 0) if dot else ())]
            lines += [line for action in actions for line in _entry(action)]
    return "\n".join(lines)


def spelt(option: str) -> str:
    """An option as the documents write it: `--target-macs`."""
    return option.replace("_", "-")


def value_word(action: argparse.Action) -> str:
    """What to write behind an option, as one word; empty where nothing is."""
    if action.nargs == 0:
        return ""
    given = action.metavar if isinstance(action.metavar, str) else ""
    if given and not given.startswith(("{", "[")):
        return "FILE" if given == "CONFIG" else given
    name = action.dest.rpartition(".")[2]
    if name in _OF_NAME and "." in action.dest:
        return _OF_NAME[name]
    if given.startswith("[="):
        return given
    if choices(action):
        return "NAME"
    part = next(part for part in _parts(type_of(action)) if part is not NoneType)
    # A function that reads the value says of which type it is.
    part = getattr(part, "__annotations__", {}).get("return", part)
    part = get_args(part)[0] if limits_in_words(part) else part
    return _OF_TYPE[part][0] if part in _OF_TYPE else "NAME"


def type_words(hint: Any) -> str:
    """A type as a sentence names it: `a whole number or null`."""
    return " or ".join(_type_word(part) for part in _parts(hint))


def choices(action: argparse.Action) -> tuple[str, ...]:
    """The values that an option has to choose from; empty where they are not fixed."""
    if action.choices is not None:
        return tuple(map(str, action.choices))
    parts = [part for part in _parts(type_of(action)) if part is not NoneType]
    return tuple(map(str, get_args(parts[0]))) if len(parts) == 1 and get_origin(parts[0]) is Literal else ()


def type_of(action: argparse.Action) -> Any:
    """What an option's value is: jsonargparse keeps it apart."""
    return getattr(action, "_typehint", None) or action.type


def _parts(hint: Any) -> tuple[Any, ...]:
    is_union = get_origin(hint) is Union or type(hint).__name__ == "UnionType"
    return get_args(hint) if is_union else (hint,)


def _type_word(part: Any) -> str:
    if part is NoneType:
        return "null"
    if get_origin(part) is Literal:
        return f"one of {', '.join(map(str, get_args(part)))}"
    if get_origin(part) is tuple and set(get_args(part)) <= {int, float}:
        return f"{len(get_args(part))} numbers in brackets, as [1.0,1.5]"
    if get_origin(part) is list:
        return "a list of pairs"
    if limits := limits_in_words(part):
        return f"{_type_word(get_args(part)[0])} {limits}"
    return _OF_TYPE[part][1] if part in _OF_TYPE else "text"


def _usage(parser: HelpParser) -> str:
    positionals = [_positional(a) for a in parser._actions if not a.option_strings]
    needed = [a for a in parser._actions if a.option_strings and (a.required or a.dest in parser.needs)]
    words = [*positionals, *(f"{spelt(a.option_strings[-1])} {value_word(a)}" for a in needed), "[options]"]
    return f"usage: {parser.prog} {' '.join(words)}"


def _positional(action: argparse.Action) -> str:
    word = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return {"+": f"{word} ...", "?": f"[{word}]"}.get(str(action.nargs), word)


def _is_shown(action: argparse.Action) -> bool:
    return action.help is not argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)


def _entry(action: argparse.Action) -> Iterator[str]:
    names = ", ".join(spelt(name) for name in action.option_strings if not name.endswith("+"))
    head = f"  {names} {value_word(action)}".rstrip() if names else f"  {_positional(action)}"
    text = _wrapped(_account(action), _COLUMN)
    if len(head) + 2 <= _COLUMN and text:
        yield head.ljust(_COLUMN) + text.pop(0).lstrip()
    else:
        yield head
    yield from text


def _account(action: argparse.Action) -> str:
    """The help of an option, with what it may be and its default where that does not say them."""
    text = (action.help or "").strip().removesuffix(".")
    known = choices(action)
    if known and not all(name in text for name in known):
        text += f"; one of {', '.join(known)}"
    takes_value = action.option_strings and action.nargs != 0
    if takes_value and "default" not in text and (default := _default(action.default)):
        text += f" (default {default})"
    return text


def _default(value: Any) -> str:
    if value is None or value is argparse.SUPPRESS or value == "":
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{','.join(map(_default, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _wrapped(text: str, indent: int) -> list[str]:
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    margin = " " * indent
    return textwrap.wrap(
        text, max(width, indent + 30), initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
    )
