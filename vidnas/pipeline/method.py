"""How a run finds its network: by a race of trainings, on a supernet, or both."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from vidnas.base.errors import VidnasError
from vidnas.base.files import read_json, write_json

Method = Literal["auto", "race", "supernet", "both"]

# Supernets of fewer steps on the weights are not trusted to judge: after 2,000 one found nothing better than random
# networks on UTD-MHAD (benchmarks/results/utd_seeds.json). The paper trains for 600 epochs.
RANKS_FROM_STEPS = 9000
# Of the hours, where a race and a supernet share them: what race and last trainings get.
HALF = 0.5
_FILE = "method.json"
# What a step on the weights, the share of a step on alpha that comes with it, and batches for both take, in steps of
# training X3D; roughly.
STEPS_OF_A_SEARCH = 3


class Chosen(NamedTuple):
    """The method, and why."""

    method: Method
    reason: str


@dataclass(frozen=True)
class MethodTimes:
    """What the methods take on some videos, from a few measured steps, and what there is.

    Attributes:
        given_sec: for the whole run.
        trial_sec: of the clock, per training of a race.
        least: trainings of the smallest race.
        wanted: trainings of the race that is asked for.
        reserved: trainings that follow it.
        supernet_steps: on the weights of a supernet, as long as it would be; 0 where there can be none.
        supernet_sec: that these take.
    """

    given_sec: float
    trial_sec: float
    least: int
    wanted: int
    reserved: int
    supernet_steps: int
    supernet_sec: float

    def fitting(self, share: float = 1.0) -> int:
        """Trainings that a share of the time is enough for, beside those that follow."""
        return max(0, int(share * self.given_sec / self.trial_sec) - self.reserved)

    @property
    def enough_for_both(self) -> bool:
        """Whether all trainings that are wanted fit into their part of the time, and a supernet into the other."""
        return self.fitting(HALF) >= self.wanted and self.supernet_sec <= (1 - HALF) * self.given_sec


def choose_method(asked: Method, processes: int, times: Callable[[], MethodTimes] | None = None) -> Chosen:
    """Settle `auto`.

    Args:
        asked: by the user.
        processes: of this run.
        times: measures what there is time for; None where it is not limited.

    Raises:
        VidnasError: a race is asked for where there can be none.
    """
    obstacle = "a race runs its trainings beside each other by itself, without torchrun" if processes > 1 else ""
    if asked == "auto":
        if obstacle:
            return Chosen("supernet", obstacle)
        if times is not None:
            return _chosen_by_time(times())
        return Chosen(
            "race",
            "trainings to the end judge networks; a supernet of 2,000 steps found nothing better than random networks "
            "on UTD-MHAD, and --method both lets one propose",
        )
    if asked != "supernet" and obstacle:
        raise VidnasError(f"--method {asked}: {obstacle}; use --method supernet")
    return Chosen(asked, "as asked for")


def _chosen_by_time(times: MethodTimes) -> Chosen:
    hours, fitting = f"{times.given_sec / 3600:.3g} hours", times.fitting()
    if fitting < times.least:
        return Chosen(
            "supernet",
            f"{hours} leave time for {fitting} trainings beside the last ones, and a race needs {times.least} or more",
        )
    steps, long_enough = f"{times.supernet_steps:,} steps", times.supernet_steps >= RANKS_FROM_STEPS
    if long_enough and times.enough_for_both:
        return Chosen(
            "both",
            f"one half of {hours} is enough for all {times.wanted} trainings of a race and the last ones, the other "
            f"for a supernet of {steps}, whose candidates join",
        )
    if not times.supernet_steps:
        obstacle = "; the list is too short to be divided for a supernet"
    elif not long_enough:
        obstacle = f"; a supernet of {steps} is too short to judge networks"
    else:
        obstacle = (
            f", but not, in one half, for all {times.wanted} and, in the other, for a supernet of {steps}; a shorter "
            "one could not judge networks"
        )
    return Chosen("race", f"{hours} leave time for {min(fitting, times.wanted)} trainings{obstacle}")


def keep_method(method: Method, out: Path) -> None:
    """Note in a run folder how its network is found, for a run that goes on."""
    write_json(out / _FILE, {"method": method})


def kept_method(out: Path) -> Method | None:
    """How the network of a run that has begun is found; None where none has."""
    path = out / _FILE
    if not path.exists():
        return None
    found: Method = read_json(path)["method"]
    return found


def check_method(asked: Method, out: Path, *, resume: bool) -> None:
    """Refuse a folder whose network is found in another way, before hours are spent on one for which it has no place.

    Args:
        asked: by the user.
        out: the run folder.
        resume: the run in it is to go on.

    Raises:
        VidnasError: it is one, or a run that shall not go on.
    """
    begun = kept_method(out)
    if begun is None:
        return
    if not resume:
        raise VidnasError(f"{out}: holds a run already; add --resume to go on with it, or choose another --out")
    if asked not in ("auto", begun):
        mend = "leave --method out, or choose another --out"
        raise VidnasError(f"{out}: its network is found by --method {begun}; {mend}")


def supernet_warning(steps: int) -> str | None:
    """What to expect of a search of so many steps on the weights; None where it is long."""
    if steps >= RANKS_FROM_STEPS:
        return None
    return (
        f"{steps} steps on a supernet are few: 2,000 found nothing better than random networks on UTD-MHAD "
        "(docs/search.md)"
    )
