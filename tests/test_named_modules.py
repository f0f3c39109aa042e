"""Modules and functions that pages name are there."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = {
    name for page in PAGES for name in re.findall(r"\bvidnas(?:\.\w+)+(?!\.?\w)", page.read_text(encoding="utf-8"))
}
FILES = {"vidnas.json"}


@pytest.mark.parametrize("name", sorted(NAMES - FILES))
def test_it_is_there(name: str) -> None:
    parts = name.split(".")
    found = importlib.import_module(parts[0])
    for i, part in enumerate(parts[1:], start=2):
        if not hasattr(found, part):
            importlib.import_module(".".join(parts[:i]))
        found = getattr(found, part)
