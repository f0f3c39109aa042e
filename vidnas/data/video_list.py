"""Labelled videos in the order of their list."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Between the labels of a video in a list.
SEPARATOR = ";"
# The index of a video's class; in a multi-label list those of all its classes, in order, which may be none.
Label = int | tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """One video: its absolute path, the index of its class, and the group that a split must keep together."""

    path: Path
    label: Label
    group: str | None = None

    @property
    def labels(self) -> tuple[int, ...]:
        """The indices of its classes, one or several."""
        return (self.label,) if isinstance(self.label, int) else self.label


def target_of(label: Label, num_classes: int) -> NDArray[Any]:
    """What a network is to give for a label: the index of the class, or a 0 or 1 for each class (float32)."""
    if isinstance(label, int):
        return np.array(label)
    target = np.zeros(num_classes, np.float32)
    target[list(label)] = 1
    return target


@dataclass(frozen=True)
class VideoList:
    """Labelled videos under one folder.

    Attributes:
        root: the folder that all paths lie under.
        samples: in the order of the file, or sorted by path for folders.
        classes: names in the order of the labels.
        notices: what was passed over while reading, one line each.
        numbered: whether its labels were written as numbers, which then count through `classes`.
        multi_label: whether a video may be of several classes, or of none.
    """

    root: Path
    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    notices: tuple[str, ...] = ()
    numbered: bool = False
    multi_label: bool = False

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def labels(self) -> tuple[Label, ...]:
        """The label of each sample."""
        return tuple(sample.label for sample in self.samples)

    @property
    def targets(self) -> NDArray[Any]:
        """(V,) the class of each sample; of a multi-label list (V, classes) 0 or 1."""
        return np.array([target_of(label, len(self.classes)) for label in self.labels])

    def label_text(self, label: Label) -> str:
        """The name of a sample's class, or the names of all of them."""
        if isinstance(label, int):
            return self.classes[label]
        return SEPARATOR.join(self.classes[one] for one in label) or "none"

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of samples of each class."""
        found = Counter(label for sample in self.samples for label in sample.labels)
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
