"""Files are UTF-8 whatever the locale is: whoever opens one as text says so."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vidnas"


def without_encoding(source: str) -> Iterator[int]:
    """Lines of calls that open a text file without a word on its encoding."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or "encoding" in {keyword.arg for keyword in node.keywords}:
            continue
        words = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        modes = [word for word in words if isinstance(word, str) and re.fullmatch(r"[rwax+bt]+", word)]
        match node.func:
            case ast.Name("open"):
                found = not any("b" in mode for mode in modes)
            case ast.Attribute(value=ast.Name("av"), attr="open"):
                found = False
            case ast.Attribute(attr="open"):  # of a path, where a mode tells that it is one
                found = bool(modes) and not any("b" in mode for mode in modes)
            case ast.Attribute(attr="read_text"):
                found = not node.args
            case ast.Attribute(attr="write_text"):
                found = len(node.args) < 2
            case _:
                found = False
        if found:
            yield node.lineno


def test_the_check_finds_what_it_looks_for() -> None:
    source = 'open("x")\nopen("x", "rb")\np.open("w")\np.open("wb")\np.read_text()\np.write_text("x", "utf-8")\n'
    assert list(without_encoding(source)) == [1, 3, 5]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_text_files_are_opened_as_utf_8(path: Path) -> None:
    assert list(without_encoding(path.read_text(encoding="utf-8"))) == []
