"""A list from a folder that holds one folder per class."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from vidnas.base.errors import VidnasError
from vidnas.data.classes import KnownClasses
from vidnas.data.entries import FILE, FOLDER, Walk, check_class_name, check_names, kind_of, visible
from vidnas.data.manifest import check_finished
from vidnas.data.parts import part_of
from vidnas.data.video_list import Sample, VideoList

# Those called .csv are read without being asked for.
_LISTS = {".txt", ".lst", ".list", ".tsv"}


def read_class_folders(folder: Path, known: KnownClasses | None, follow_links: bool) -> VideoList:
    """Read the videos below each class folder.

    Args:
        folder: holds the class folders.
        known: the classes that folders must be among; None takes the names of all folders, sorted.
        follow_links: also follow links that lead out of the folder.

    Raises:
        VidnasError: an unfinished copy, no class folder, a class without a video, an unknown class, a link out, names
            that are not UTF-8 or that a list of classes cannot hold.
    """
    root = folder.resolve()
    check_finished(folder)
    walk = Walk(root, follow_links)
    class_folders = walk.folders()
    if not class_folders:
        lists = sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in (".csv", ".txt", ".tsv"))
        instead = (
            f"give its list, --data {folder / lists[0]}" if lists else "write train.csv, a path and a label a line"
        )
        raise VidnasError(
            f"{folder}: no class folders in it; put the videos of each class into a folder of its own, or {instead}"
        )
    names = known.names if known is not None else tuple(entry.name for entry in class_folders)
    files = {entry: walk.videos(entry) for entry in class_folders}
    check_names(root, [str(path.relative_to(root)) for path in (*files, *chain.from_iterable(files.values()))])
    samples: list[Sample] = []
    for entry, found in files.items():
        check_class_name(entry.name, str(folder))
        if not found and known is None:
            raise VidnasError(f"{entry}: no video in this class folder; add some or remove the folder")
        if found and entry.name not in names:
            raise VidnasError(f"{entry}: class {entry.name!r} is not one of the {len(names)} known classes")
        samples += [Sample(file, names.index(entry.name)) for file in found]
    if not samples:
        raise VidnasError(f"{folder}: no video in it")
    notices = walk.notices(folder) + _lists_beside(folder) + _deeper(folder, class_folders, samples)
    return VideoList(root, tuple(samples), names, notices)


def _lists_beside(folder: Path) -> tuple[str, ...]:
    """A line that says how to use lists of training and test videos that lie beside class folders, as in UCF101."""
    found: dict[str, Path] = {}
    for entry in visible(folder):
        part = part_of(entry.stem)
        if part is not None and entry.suffix.casefold() in _LISTS and kind_of(entry) == FILE:
            found.setdefault(part, entry)
    if "train" not in found:
        return ()
    test = found.get("test") or found.get("val")
    options = f"--data {found['train']}" + (f" --test {test}" if test else "")
    return (f"{folder}: its class folders are read, and no list beside them; {options} takes the lists instead",)


def _deeper(folder: Path, class_folders: Sequence[Path], samples: Sequence[Sample]) -> tuple[str, ...]:
    """A line where all class folders hold the same folders and no video: those may be the classes that are meant."""
    if any(sample.path.parent in class_folders for sample in samples):
        return ()
    inner = [{entry.name for entry in visible(one) if kind_of(entry) == FOLDER} for one in class_folders]
    common = sorted(set.intersection(*inner))
    if len(class_folders) < 2 or len(common) < 2:
        return ()
    named = [
        ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        for names in (sorted(e.name for e in class_folders), common)
    ]
    return (f"{folder}: {named[0]} are read as the classes, the folders in each of them ({named[1]}) are not",)
