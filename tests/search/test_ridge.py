"""Ridge classifiers on planted features."""

import numpy as np
import pytest

from vidnas.search.ridge import STRENGTHS, held_out_hits, joined_kernel

VIDEOS, CLASSES, FOLDS = 60, 3, 4


def planted(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features that give the class, targets, folds."""
    rng = np.random.default_rng(seed)
    label = np.arange(VIDEOS) % CLASSES
    targets = np.eye(CLASSES)[label]
    fold = rng.permutation(np.arange(VIDEOS) % FOLDS)
    features = targets @ rng.normal(size=(CLASSES, 20)) + 0.3 * rng.normal(size=(VIDEOS, 20)) + 5
    return features, targets, fold


def test_what_is_planted_is_found() -> None:
    features, targets, fold = planted(0)
    assert held_out_hits(joined_kernel([features]), targets, fold).mean() > 0.9


def test_noise_stays_at_chance() -> None:
    """A judgement that a fold has a part in itself would be well above it: there are more features than videos."""
    rates = []
    for seed in range(8):
        _, targets, fold = planted(seed)
        noise = np.random.default_rng(seed).normal(size=(VIDEOS, 300))
        rates.append(held_out_hits(joined_kernel([noise]), targets, fold).mean())
    assert np.mean(rates) == pytest.approx(1 / CLASSES, abs=0.08)


def test_a_fold_is_judged_by_the_others_alone() -> None:
    """What stands in a fold as answers changes nothing of what is said there."""
    features, targets, fold = planted(1)
    kernel = joined_kernel([features])
    changed = targets.copy()
    changed[fold == 2] = np.roll(targets[fold == 2], 1, axis=1)
    before, after = held_out_hits(kernel, targets, fold), held_out_hits(kernel, changed, fold)
    assert before[fold == 2].mean() > 0.9
    assert after[fold == 2].mean() < 0.1


def test_the_same_as_ridge_by_its_formula() -> None:
    """Features less their means, the weights of the penalised least squares, the strength by folds within the rest."""
    features, targets, fold = planted(2)
    features = features + 3 * np.random.default_rng(2).normal(size=features.shape)
    kernel = joined_kernel([features])

    def scores(taught: np.ndarray, judged: np.ndarray, strength: float) -> np.ndarray:
        centred = features - features.mean(0)
        scaled = centred * np.sqrt(len(features) / (centred**2).sum())
        x = scaled[taught] - scaled[taught].mean(0)
        penalty = strength * (x**2).sum() / len(x)
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ targets[taught])
        return targets[taught].mean(0) + (scaled[judged] - scaled[taught].mean(0)) @ weights

    def hits(taught: np.ndarray, judged: np.ndarray, strength: float) -> np.ndarray:
        return targets[judged, scores(taught, judged, strength).argmax(1)] > 0

    expected = np.zeros(VIDEOS, bool)
    for outer in range(FOLDS):
        inner = [
            sum(
                hits((fold != outer) & (fold != other), fold == other, strength).sum()
                for other in range(FOLDS)
                if other != outer
            )
            for strength in STRENGTHS
        ]
        expected[fold == outer] = hits(fold != outer, fold == outer, STRENGTHS[int(np.argmax(inner))])
    assert 0.4 < expected.mean() < 0.95
    assert (held_out_hits(kernel, targets, fold) == expected).all()


def test_parts_weigh_alike_whatever_their_scale() -> None:
    features, _, _ = planted(3)
    first, second = features[:, :5], features[:, 5:]
    joined = joined_kernel([first, second])
    assert joined_kernel([1000 * first, second]) == pytest.approx(joined)
    assert np.trace(joined) == pytest.approx(2 * VIDEOS)
    assert joined_kernel([first, np.full((VIDEOS, 7), 0.5)]) == pytest.approx(joined_kernel([first]))


def test_one_of_several_classes_is_a_hit() -> None:
    features, targets, fold = planted(4)
    both = np.maximum(targets, np.roll(targets, 1, axis=1))
    assert held_out_hits(joined_kernel([features]), both, fold).mean() > 0.95
