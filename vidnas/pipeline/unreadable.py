"""The videos of a search that could not be read: gathered from its processes, and said in a line."""

from collections.abc import Mapping, Sequence

from vidnas.data.dataset import TrainClips, ViewClips
from vidnas.engine.run.set_aside import set_aside_anywhere

# By part, path (as the list names it) and cause.
Unreadable = Mapping[str, Sequence[Mapping[str, str]]]
_NAMED = 3


def gather_unreadable(parts: Mapping[str, TrainClips | ViewClips]) -> Unreadable:
    """What any process of the run has met; all of them call this. Parts without such videos are left out."""
    found = {}
    for name, clips in parts.items():
        broken = set_aside_anywhere(clips)
        if broken:
            root = clips.videos.root
            found[name] = [{"path": e.path.relative_to(root).as_posix(), "cause": e.cause} for e in broken]
    return found


def describe_unreadable(found: Unreadable, sizes: Mapping[str, int]) -> str:
    """One line: how many of which part, the first of them, and how to mend it.

    Args:
        found: at least one.
        sizes: videos of each part.
    """
    counts = ", ".join(f"{len(broken)} of {sizes[part]} for {part}" for part, broken in found.items())
    every = [one for broken in found.values() for one in broken]
    named = "; ".join(f"{one['path']}: {one['cause']}" for one in every[:_NAMED])
    more = f"; and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return (
        f"unreadable videos do not count ({counts}): {named}{more}: `vidnas data check` lists them, --fix writes lists "
        "without them"
    )
