"""vidnas: efficient video networks, searched, trained, tested, exported.

Importing the package loads neither torch nor lightning; each name loads what it needs when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidnas.arch.registry import get_spec, list_models
    from vidnas.arch.spec import ArchSpec
    from vidnas.nn.create import create_model

__all__ = ["ArchSpec", "create_model", "get_spec", "list_models"]

_HOMES = {
    "ArchSpec": "vidnas.arch.spec",
    "create_model": "vidnas.nn.create",
    "get_spec": "vidnas.arch.registry",
    "list_models": "vidnas.arch.registry",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("vidnas")
    if name not in _HOMES:
        raise AttributeError(f"module 'vidnas' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES, "__version__"]
