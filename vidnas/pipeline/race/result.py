"""How a race ended, in words and in figures."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vidnas.arch.cost import network_cost
from vidnas.pipeline.race.early import EarlyRanks, describe_early
from vidnas.search.race import Paired, Standing, answer, lead


@dataclass(frozen=True)
class RaceResult:
    """How it ended.

    Attributes:
        clips: standings of X3D at each clip, the winner first; empty where the clip was given.
        networks: standings of the networks at that clip, and of X3D at the next best one; the best on the folds first.
        yardstick: X3D at the clip that won, which is among the networks.
        trials: trainings that it took.
        early: how far their losses on the way foretold their results.
        amounts: what each network takes of every budget, by content hash and metric.
    """

    clips: tuple[Standing, ...]
    networks: tuple[Standing, ...]
    yardstick: Standing
    trials: int
    early: tuple[EarlyRanks, ...] = ()
    amounts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def first(self) -> Standing:
        """The best on the folds."""
        return self.networks[0]

    @property
    def winner(self) -> Standing:
        """The network to be used: the first, or X3D where that is not clearly ahead of it."""
        return answer(self.networks, self.yardstick)

    @property
    def lead(self) -> Paired | None:
        """Of the first against X3D at the clip that won; None where X3D is the first, or failed at once."""
        return lead(self.networks, self.yardstick)


def describe(result: RaceResult) -> str:
    """Who won, and how sure that is; in a second line what the losses on the way foretold."""
    winner, spec = result.winner, result.winner.proposal.spec
    ms = result.amounts.get(spec.content_hash, {}).get("ms")
    cost = f"{network_cost(spec)}{f', {ms:.3g} ms' if ms else ''}"
    told = f"winner: {spec.name} ({winner.proposal.source}), {cost}, {winner.mean.headline:.1%} on the folds"
    if result.lead is None and winner is result.yardstick:
        told += "; X3D had the highest mean"
    elif result.lead is None:
        told += "; X3D's training failed, so it was compared with nothing"
    else:
        x3d, rounds = result.yardstick, len(result.first.ahead_of(result.yardstick))
        own = "its clip" if spec.clip == x3d.proposal.spec.clip else f"{x3d.proposal.spec.clip}"
        ahead = f"{100 * result.lead.mean:+.1f} points against X3D at {own} over {rounds} round{'s' * (rounds > 1)}"
        ahead += f" (standard error {100 * result.lead.error:.1f})" if math.isfinite(result.lead.error) else ""
        ahead += ", before a training of X3D failed" if x3d.failed else ""
        if winner is result.yardstick:
            ahead = f"; first on them was {result.first.proposal.spec.name}, {ahead}, which is not enough"
        told += ahead if winner is result.yardstick else f", {ahead}"
    early = describe_early(result.early)
    return f"{told}\n{early}" if early else told


def summary(result: RaceResult) -> dict[str, Any]:
    """As builtins."""

    def row(one: Standing) -> dict[str, Any]:
        cost = network_cost(one.proposal.spec)
        return {
            "name": one.proposal.spec.name,
            "network": one.proposal.spec.content_hash,
            "source": one.proposal.source,
            "clip": str(one.proposal.spec.clip),
            "sampling": one.proposal.spec.clip.sampling,
            "macs": cost.macs,
            "params": cost.params,
            **result.amounts.get(one.proposal.spec.content_hash, {}),
            "scores": [score.headline for score in one.scores],
            "failed": one.failed,
        }

    return {
        "winner": row(result.winner),
        "x3d": row(result.yardstick),
        "first_ahead_of_x3d": _as_builtins(result.lead),
        "clips": [row(one) for one in result.clips],
        "networks": [row(one) for one in result.networks],
        "trials": result.trials,
        "early_ranks": [one._asdict() for one in result.early],
    }


def _as_builtins(lead: Paired | None) -> dict[str, float | None] | None:
    if lead is None:
        return None
    return {"mean": lead.mean, "standard_error": lead.error if math.isfinite(lead.error) else None}
