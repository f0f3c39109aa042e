"""How far the loss on the way foretells the result, in the very race: what an earlier stop would have cost."""

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from vidnas.pipeline.race.archive import TrialEntry
from vidnas.search.rank_correlation import kendall

SHARES = (0.25, 0.5, 0.75)
# Fewer trials of a round have no order to speak of.
_LEAST = 4


class EarlyRanks(NamedTuple):
    """How trials rank on their way.

    Attributes:
        share: of the steps.
        tau: Kendall's, of the training loss there and the result on the fold; mean over rounds.
        trials: that it comes from.
    """

    share: float
    tau: float
    trials: int


def early_ranks(entries: Iterable[TrialEntry]) -> list[EarlyRanks]:
    """Within each round, whose trials differ by their networks alone; none where all rounds are small."""
    rounds: dict[tuple[int, int], list[TrialEntry]] = defaultdict(list)
    for entry in entries:
        if entry.headline is not None and entry.curve:
            rounds[entry.fold, entry.seed].append(entry)
    found = []
    for share in SHARES:
        taus, trials = [], 0
        for trained in rounds.values():
            if len(trained) < _LEAST:
                continue
            losses = [-loss_at(entry, share) for entry in trained]
            tau = kendall(losses, [entry.headline for entry in trained if entry.headline is not None]).tau
            if not math.isnan(tau):
                taus.append((tau, len(trained)))
                trials += len(trained)
        if taus:
            found.append(EarlyRanks(share, sum(tau * n for tau, n in taus) / trials, trials))
    return found


def loss_at(entry: TrialEntry, share: float) -> float:
    """The last training loss that was noted up to a share of the steps; the first one where none was."""
    until = [loss for step, loss in entry.curve if step <= share * entry.steps]
    return until[-1] if until else entry.curve[0][1]


def describe_early(ranks: Iterable[EarlyRanks]) -> str:
    """One sentence; empty where nothing is known."""
    told = ", ".join(f"{one.tau:+.2f} at {one.share:.0%}" for one in ranks)
    return f"rank correlation of the training loss on the way with the result: {told} of the steps" if told else ""
