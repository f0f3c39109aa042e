"""Ridge classifiers from kernels, judged on folds with a strength that other folds settle."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Places = NDArray[np.intp]

# Multiples of the mean eigenvalue of the kernel, the strongest first, which is taken where several do as well.
STRENGTHS = np.geomspace(1e2, 1e-3, 11)


def joined_kernel(parts: Sequence[Floats]) -> Floats:
    """Inner products of V samples over several sets of features, each of which weighs as much as another.

    Args:
        parts: features, (V, ...) each.

    Returns:
        (V, V) float64.
    """
    kernel = np.zeros((len(parts[0]), len(parts[0])))
    for part in parts:
        features = part.reshape(len(part), -1).astype(np.float64)
        features -= features.mean(0)
        products = features @ features.T
        total = np.trace(products)
        if total > 0:  # features that are the same everywhere tell nothing
            kernel += products * (len(part) / total)
    return kernel


def held_out_hits(kernel: Floats, targets: Floats, fold: Places) -> NDArray[np.bool_]:
    """Which samples a ridge classifier gets right that has not seen their fold.

    Its strength is the one with the most hits when each of the other folds is judged by what the rest of them teaches,
    so that no fold has a part in how it is judged itself.

    Args:
        kernel: (V, V) inner products.
        targets: (V, C) 1 for the classes of a sample, else 0; the highest score is a hit where it is one of them.
        fold: (V,) the fold of each sample, 0 to F - 1, F at least 3.

    Returns:
        (V,) bool.
    """
    folds = range(int(fold.max()) + 1)
    inner = np.zeros((len(folds), len(STRENGTHS)))
    for a, b in combinations(folds, 2):
        # One decomposition for both: what neither fold has taught judges b on behalf of a, and a on behalf of b.
        taught = np.flatnonzero((fold != a) & (fold != b))
        judged = np.flatnonzero((fold == a) | (fold == b))
        for i, scores in enumerate(_scores(kernel, targets, taught, judged)):
            hits = _hits(scores, targets[judged])
            inner[a, i] += hits[fold[judged] == b].sum()
            inner[b, i] += hits[fold[judged] == a].sum()
    right = np.zeros(len(fold), bool)
    for number in folds:
        taught, judged = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        best = int(inner[number].argmax())
        scores = list(_scores(kernel, targets, taught, judged))[best]
        right[judged] = _hits(scores, targets[judged])
    return right


def _scores(kernel: Floats, targets: Floats, taught: Places, judged: Places) -> Iterator[Floats]:
    """(judged, C) scores at each strength, of features and targets less their means over what is taught."""
    own = kernel[np.ix_(taught, taught)]
    means, mean = own.mean(1), own.mean()
    own = own - means[:, None] - means + mean
    # The rest of the centring adds the same to a row, and the weights of what is taught sum to 0.
    other = kernel[np.ix_(judged, taught)] - means
    values, vectors = np.linalg.eigh(own)
    values = np.maximum(values, 0)
    unit = values.mean() or 1.0
    share = targets[taught].mean(0)
    answers, turned = vectors.T @ (targets[taught] - share), other @ vectors
    for strength in STRENGTHS:
        yield share + turned @ (answers / (values + strength * unit)[:, None])


def _hits(scores: Floats, targets: Floats) -> NDArray[np.bool_]:
    # Scores that differ by rounding alone are equal, whatever the order of summation.
    first = scores.round(9).argmax(1)
    hits: NDArray[np.bool_] = targets[np.arange(len(targets)), first] > 0
    return hits
