"""Names of the search spaces and how to get one from a name or a file; `auto` is in `spaces.auto`."""

import difflib
from collections.abc import Callable
from pathlib import Path

from vidnas.arch.spec import ClipSpec
from vidnas.base.document import FILE_SUFFIXES
from vidnas.base.errors import VidnasError
from vidnas.search.space.published.auto_tsnet import (
    auto_tsnet_backbone,
    auto_tsnet_space,
    manual_tsnet_attention,
    manual_tsnet_fusions,
)
from vidnas.search.space.published.autox3d import autox3d_space
from vidnas.search.space.published.scaled import tiny_space
from vidnas.search.space.space import Space

_SPACES: dict[str, Callable[[], Space]] = {
    "autox3d": autox3d_space,
    "auto_tsnet": auto_tsnet_space,
    "auto_tsnet_backbone": auto_tsnet_backbone,
    "manual_tsnet_fusions": manual_tsnet_fusions,
    "manual_tsnet_attention": manual_tsnet_attention,
    "tiny": tiny_space,
}


def list_spaces() -> list[str]:
    """Names of all spaces."""
    return list(_SPACES)


def resolve_space(name_or_file: str, *, clip: ClipSpec | None = None, num_classes: int | None = None) -> Space:
    """A space by name, or from a YAML or JSON file (anything with such a suffix or a folder in it).

    Args:
        name_or_file: which.
        clip: instead of the space's own.
        num_classes: instead of the space's own.

    Raises:
        VidnasError: no such name (the message suggests the nearest), or a file that breaks a rule.
    """
    path = Path(name_or_file)
    if name_or_file in _SPACES:
        space = _SPACES[name_or_file]()
    elif path.suffix in FILE_SUFFIXES or path.is_file() or len(path.parts) > 1:
        space = Space.load(path)
    else:
        near = difflib.get_close_matches(name_or_file, ["auto", *_SPACES], n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are auto, {', '.join(_SPACES)}, or a YAML or JSON file"
        raise VidnasError(f"no search space called {name_or_file!r}; {hint}")
    if clip is not None:
        space = space.with_clip(clip)
    return space if num_classes is None else space.with_classes(num_classes)
