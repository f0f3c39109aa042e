"""Every option that a message, a document or the Makefile names is one that a user can type."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vidnas.cli.config_parser import ConfigParser
from vidnas.cli.main import VERBS, _dispatch
from vidnas.cli.parsing import Parser

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "Makefile"]
TWO_WORDS = {"data": ("check", "cache", "generate"), "space": ("info", "sample", "validate", "template")}
COMMANDS = [words for verb in VERBS for words in ([(verb, action) for action in TWO_WORDS.get(verb, ())] or [(verb,)])]
# Of torchrun, docker, convmv, the door itself, and (in documents) of benchmarks.
FOREIGN = {"--nproc-per-node", "--shm-size", "--notest", "--version"}
FOREIGN |= {"--dtype", "--races", "--seeds", "--networks", "--supernet-steps", "--progressive-steps"}
OPTION = re.compile(
    r"(?<![\w-])--[a-z][\w.-]*[a-z\d](?![\w.-]*{)|(?<![\w./])(?:train|search|clips|data|space)\.[a-z_]+\b(?![.(])"
)
SUFFIXES = (".csv", ".json", ".md", ".py", ".yaml", ".svg")


class Reached(Exception):
    """A verb has come to its parser."""

    def __init__(self, parser: Any) -> None:
        self.parser = parser


@pytest.fixture(scope="module")
def parsers() -> dict[tuple[str, ...], Parser | ConfigParser]:
    """The parser of every command, as the command itself makes it."""

    def stop(self: Any, *_: Any, **__: Any) -> None:
        raise Reached(self)

    found: dict[tuple[str, ...], Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parser, "parse_args", stop)
        patch.setattr(ConfigParser, "parse_args", stop)
        for words in COMMANDS:
            with pytest.raises(Reached) as reached:
                _dispatch([*words, "x"])
            found[words] = reached.value.parser
    return found


def knows(parser: Parser | ConfigParser, option: str) -> bool:
    """Whether the parser takes the option as it is written, or the key of a recipe."""
    option = option if option.startswith("--") else f"--{option}"
    if isinstance(parser, ConfigParser):
        option = parser._spelt_out(option)
    return option in parser._option_string_actions


def commands_in(text: str) -> Iterator[tuple[str, ...]]:
    """`vidnas VERB ...` in a text, as words of the verb."""
    for verb, action in re.findall(r"\bvidnas ([a-z]+)(?: ([a-z]+))?", text):
        if verb in VERBS:
            yield (verb, action) if action in TWO_WORDS.get(verb, ()) else (verb,)


def named_in(text: str) -> Iterator[str]:
    for match in OPTION.finditer(text):
        if not match[0].endswith(SUFFIXES) and match[0] not in FOREIGN:
            yield match[0]


def test_options_in_messages_exist(parsers) -> None:
    """In a module of a verb: of that verb, or of one that the module names; elsewhere, and keys: of any verb."""
    wrong = []
    for file in sorted((ROOT / "vidnas").rglob("*.py")):
        source = file.read_text()
        own = [words for words in COMMANDS if file.parent.name == "cli" and file.stem in words]
        for line, text in literals(ast.parse(source)):
            for option in named_in(text):
                strict = own and option.startswith("--")
                candidates = [*own, *commands_in(source)] if strict else list(parsers)
                known = [words for words in candidates if words in parsers and knows(parsers[words], option)]
                if not known and file.name not in ("config_parser.py", "parsing.py"):
                    wrong.append(f"{file.relative_to(ROOT)}, line {line}: {option}")
    assert wrong == []


def literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every string, with {} where an f-string holds a value."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, "".join(map(str, parts))
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    yield from literals(part)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        else:
            yield from literals(node)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_options_in_documents_exist(document: Path, parsers) -> None:
    wrong = []
    text = document.read_text(encoding="utf-8")
    if document.name == "Makefile":
        text = "\n".join(line for line in text.replace("\\\n", " ").splitlines() if "/vidnas " in line)
    for command, options in _command_lines(text):
        wrong += [f"vidnas {' '.join(command)} {option}" for option in options if not knows(parsers[command], option)]
    if document.name != "Makefile":
        prose = re.sub(r"```python.*?```", "", text, flags=re.DOTALL)
        wrong += [o for o in named_in(prose) if not any(knows(parser, o) for parser in parsers.values())]
    assert wrong == []


def _command_lines(text: str) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """A command and the options on the rest of its line or of its code span."""
    for match in re.finditer(r"(?:\bvidnas|-m vidnas|/vidnas) ([a-z]+[^\n`|]*)", text):
        for command in list(commands_in(f"vidnas {match[1]}"))[:1]:
            yield command, list(named_in(match[1]))


def test_whole_command_lines_of_the_documents_are_parsed(parsers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of code blocks go through the parsers, values and all."""
    monkeypatch.chdir(ROOT)
    parsed = 0
    for document in DOCUMENTS:
        for line in document.read_text().replace("\\\n", " ").splitlines():
            match = re.match(r"(?:\t|    \$? ?|torchrun \S+ \S+ -m )?(?:\$\(BIN\)/)?vidnas (?!-)(.*)", line)
            if match is None or "..." in match[1] or "[" in match[1]:
                continue
            words = shlex.split(re.sub(r"\s(>|\|).*|\$\(\w+\)", " ", match[1]), comments=True)
            for command in list(commands_in("vidnas " + " ".join(words)))[:1]:
                parsers[command].parse_args(words[len(command) :])
                parsed += 1
    assert parsed > 15
