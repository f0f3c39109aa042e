"""Names of the zoo and how to get a spec from a name or a file."""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

from vidnas.arch.spec import ArchSpec
from vidnas.arch.zoo import autox3d, tsnet, x3d
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
        tsnet.manual_tsnet_85,
        tsnet.manual_tsnet_70,
        tsnet.manual_tsnet_55,
        tsnet.manual_tsnet_70_fusions_0,
        tsnet.manual_tsnet_70_fusions_10,
        tsnet.manual_tsnet_70_glore_2,
        tsnet.manual_tsnet_70_glore_4,
        tsnet.manual_tsnet_70_glore_6,
        tsnet.auto_tsnet_s,
        tsnet.auto_tsnet_s_no_attention,
        tsnet.auto_tsnet_m,
        tsnet.auto_tsnet_m_no_attention,
        tsnet.auto_tsnet_l,
        tsnet.auto_tsnet_l_no_attention,
    )
}
# What of a network is not its paper's; docs/discrepancies.md has the reasons.
_NOTES: Mapping[str, str] = {
    "x3d_xxl": "inferred",
    **dict.fromkeys(("autox3d_s", "autox3d_m", "autox3d_l"), "attention sizes fitted"),
    **{name: "widths fitted" for name in _ZOO if name.startswith("manual_tsnet")},
    **{name: "reconstruction" for name in _ZOO if name.startswith("auto_tsnet")},
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


def note_on(spec: ArchSpec) -> str:
    """What of a network of the zoo is not its paper's, in a few words; empty where all is, and for other networks."""
    name = spec.name.partition(" ")[0]
    same = name in _NOTES and get_spec(name).model_copy(update={"name": spec.name}) == spec
    return _NOTES[name] if same else ""


def resolve(name_or_file: str) -> ArchSpec:
    """A zoo name, or a path to a spec file (anything with a YAML or JSON suffix or a folder in it)."""
    if name_or_file in _ZOO:
        return get_spec(name_or_file)
    path = Path(name_or_file)
    if path.suffix in FILE_SUFFIXES or path.is_file() or len(path.parts) > 1:
        return ArchSpec.load(path)
    return get_spec(name_or_file)
