"""The networks of the zoo, for tests of each."""

import pytest

from vidnas.arch.registry import list_models

# They differ from others by attention or fusions alone.
VARIANTS = ("_no_attention", "_fusions_", "_glore_")


def every_network() -> list[object]:
    """Names as parameters; the long tests have the variants too."""
    return [
        pytest.param(name, marks=pytest.mark.long if any(part in name for part in VARIANTS) else ())
        for name in list_models()
    ]
