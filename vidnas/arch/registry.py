"""Names of the zoo and how to get a spec from a name or a file."""

import difflib
from collections.abc import Callable
from pathlib import Path

from vidnas.arch.spec import ArchSpec
from vidnas.arch.zoo import autox3d, x3d
from vidnas.base.document import FILE_SUFFIXES
from vidnas.base.errors import VidnasError

_ZOO: dict[str, Callable[[], ArchSpec]] = {
    builder.__name__: builder
    for builder in (
        x3d.x2d,
        x3d.x3d_xs,
        x3d.x3d_s,
        x3d.x3d_m,
        x3d.x3d_l,
        x3d.x3d_xl,
        x3d.x3d_xxl,
        autox3d.autox3d_s,
        autox3d.autox3d_s_no_attention,
        autox3d.autox3d_m,
        autox3d.autox3d_m_no_attention,
        autox3d.autox3d_l,
        autox3d.autox3d_l_no_attention,
    )
}


def list_models() -> list[str]:
    """Names of all networks of the zoo."""
    return list(_ZOO)


def get_spec(name: str) -> ArchSpec:
    """The spec of a network of the zoo.

    Raises:
        VidnasError: no such name; the message suggests the nearest.
    """
    if name not in _ZOO:
        near = difflib.get_close_matches(name, _ZOO, n=1)
        hint = f"did you mean {near[0]}?" if near else "`vidnas list` names them"
        raise VidnasError(f"no network called {name!r}; {hint}")
    return _ZOO[name]()


def resolve(name_or_file: str) -> ArchSpec:
    """A zoo name, or a path to a spec file (anything with a YAML or JSON suffix or a folder in it)."""
    if name_or_file in _ZOO:
        return get_spec(name_or_file)
    path = Path(name_or_file)
    if path.suffix in FILE_SUFFIXES or path.is_file() or len(path.parts) > 1:
        return ArchSpec.load(path)
    return get_spec(name_or_file)
