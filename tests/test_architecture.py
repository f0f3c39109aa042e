"""docs/architecture.md names what is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PATHS = sorted({path for path in re.findall(r"[\w/]+/(?:\w+\.\w+)?", TEXT) if path.count("/") and "VERB" not in path})


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_is_named_is_there(path: str) -> None:
    assert any((folder / path).exists() for folder in (ROOT, ROOT / "vidnas")), path


def test_the_table_of_rooms_lists_the_packages() -> None:
    rooms = re.findall(r"^\| `(\w+)` \|", TEXT, flags=re.MULTILINE)
    assert sorted(rooms) == sorted(init.parent.name for init in (ROOT / "vidnas").glob("*/__init__.py"))
