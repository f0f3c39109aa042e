"""Which column of a list is which, by the names that people give them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

COLUMNS = ("path", "label", "group")
# The names of a column, the more telling first.
_NAMES = {
    "path": (
        *("path", "video_path", "file_path", "clip_path", "relative_path", "rel_path", "paths", "file", "filename"),
        *("file_name", "video_file", "video_filename", "video_file_name", "files", "filenames", "fname", "video_name"),
        *(
            "clip_name",
            "video",
            "clip",
            "videos",
            "vid",
            "movie",
            "name",
            "video_id",
            "clip_id",
            "youtube_id",
            "id",
            "uri",
        ),
    ),
    "label": (
        *("label", "class", "class_name", "class_label", "label_name", "label_text", "text_label", "category"),
        *("category_name", "action", "action_name", "action_label", "activity", "activity_name", "activity_label"),
        *("gesture", "sign", "gloss", "verb", "event", "emotion", "target", "ground_truth", "gt", "tag", "y", "labels"),
        *("classes", "class_id", "class_index", "class_idx", "label_id", "label_index", "label_idx", "category_id"),
        *("action_id", "activity_id", "target_id"),
    ),
    "group": ("group", "groups", "group_id"),
}
# Columns whose values videos of a kind have in common.
_LIKE_GROUPS = frozenset(
    {"subject", "subject_id", "person", "person_id", "actor", "performer", "user", "signer", "source"}
)


@dataclass(frozen=True)
class Columns:
    """Places of the columns; None where there is none."""

    path: int | None
    label: int | None
    group: int | None

    def notices(self, head: Sequence[str]) -> list[str]:
        """How the header was understood where it has other names than ours, and what is passed over."""
        lines = []
        used = {name: head[place] for name, place in vars(self).items() if place is not None}
        if renamed := [f"{field} as {name}" for name, field in used.items() if plain(field) != name]:
            lines.append(f"columns read: {', '.join(renamed)}")
        others = [field for place, field in enumerate(head) if place not in vars(self).values()]
        if others:
            lines.append(f"columns passed over: {', '.join(field or '(no name)' for field in others)}")
        if self.group is None and (like := [field for field in others if plain(field) in _LIKE_GROUPS]):
            lines[-1] += f"; call {like[0]} group if videos of one must stay on one side of a split"
        return lines


def find_columns(head: Sequence[str]) -> Columns:
    """Columns by their names, in any case and with any of `_`, `-` and blank between words."""
    names = [_joined(field) for field in head]

    def place(column: str) -> int | None:
        known = [_joined(name) for name in _NAMES[column]]
        found = sorted((known.index(name), at) for at, name in enumerate(names) if name in known)
        return found[0][1] if found else None

    return Columns(place("path"), place("label"), place("group"))


def plain(field: str) -> str:
    """A column's name in lower case, without the `#` of a comment."""
    return field.casefold().lstrip("# ")


def _joined(field: str) -> str:
    return re.sub(r"[\s_-]+", "", plain(field))
