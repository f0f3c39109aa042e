"""Labelled videos in the order of their list."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """One video: its absolute path, the index of its class, and the group that a split must keep together."""

    path: Path
    label: int
    group: str | None = None


@dataclass(frozen=True)
class VideoList:
    """Labelled videos under one folder.

    Attributes:
        root: the folder that all paths lie under.
        samples: in the order of the file, or sorted by path for folders.
        classes: names in the order of the labels.
        notices: what was passed over while reading, one line each.
        numbered: whether its labels were written as numbers, which then count through `classes`.
    """

    root: Path
    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    notices: tuple[str, ...] = ()
    numbered: bool = False

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def labels(self) -> tuple[int, ...]:
        """The label of each sample."""
        return tuple(sample.label for sample in self.samples)

    @property
    def targets(self) -> NDArray[np.int64]:
        """(V,) the label of each sample."""
        return np.array(self.labels)

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of samples of each class."""
        found = Counter(self.labels)
        return tuple(found[label] for label in range(len(self.classes)))

    @cached_property
    def content_hash(self) -> str:
        """sha256 over relative paths, labels and class names (not over what the files hold)."""
        rows = [[self.relative(sample), sample.label] for sample in self.samples]
        return hashlib.sha256(json.dumps([list(self.classes), rows]).encode()).hexdigest()

    def relative(self, sample: Sample) -> str:
        """The path of a sample from the root, with forward slashes."""
        return sample.path.relative_to(self.root).as_posix()

    def subset(self, indices: Iterable[int]) -> "VideoList":
        """The samples at these places, in this order, with all classes."""
        return replace(self, samples=tuple(self.samples[i] for i in indices), notices=())


def printable(path: str | Path) -> str:
    r"""A path as text that any output takes: bytes that are not UTF-8 become `\xe9` and the like."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
