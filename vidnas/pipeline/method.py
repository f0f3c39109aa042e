"""How a run finds its network: by a race of trainings, on a supernet, or both."""

from collections.abc import Collection
from typing import Literal, NamedTuple

from vidnas.base.errors import VidnasError

Method = Literal["auto", "race", "supernet", "both"]

# What supernets of so many steps on the weights were worth as judges on UTD-MHAD (docs/search.md).
RANKS_FROM_STEPS = 9000


class Chosen(NamedTuple):
    """The method, and why."""

    method: Method
    reason: str


def choose_method(asked: Method, metrics: Collection[str], processes: int) -> Chosen:
    """Settle `auto`.

    Args:
        asked: by the user.
        metrics: that there are budgets in.
        processes: of this run.

    Raises:
        VidnasError: a race is asked for where there can be none.
    """
    obstacle = ""
    if tuple(metrics) != ("macs",):
        obstacle = "networks of a race are brought to a budget of multiply-adds (--target-macs) and no other"
    elif processes > 1:
        obstacle = "a race runs its trainings beside each other by itself, without torchrun"
    if asked == "auto":
        if obstacle:
            return Chosen("supernet", obstacle)
        return Chosen(
            "race",
            "trainings to the end judge networks, a supernet of less than some "
            f"{RANKS_FROM_STEPS:,} steps ranks them no better than chance; --method both lets one propose",
        )
    if asked != "supernet" and obstacle:
        raise VidnasError(f"--method {asked}: {obstacle}; use --method supernet")
    return Chosen(asked, "as asked for")


def supernet_warning(steps: int) -> str | None:
    """What to expect of a search of so many steps on the weights; None where it is long."""
    if steps >= RANKS_FROM_STEPS:
        return None
    return (
        f"{steps} steps on a supernet are few: on UTD-MHAD 2,000 ranked networks no better than chance, "
        f"{RANKS_FROM_STEPS:,} a little better (docs/search.md)"
    )
