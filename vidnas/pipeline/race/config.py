"""Settings of a race."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from vidnas.base.limits import Natural, Positive, check_limits


@dataclass(frozen=True)
class RaceConfig:
    """How a race is run.

    Attributes:
        trials: trainings in all.
        folds: of the training list; null is as many as its groups allow, up to 5.
        folds_within_groups: let the videos of a group lie in several folds, where there are too few groups.
        seed: of the division, the draws and the trainings.
    """

    trials: Positive = 40
    folds: Annotated[int, Field(ge=2)] | None = None
    folds_within_groups: bool = False
    seed: Natural = 0

    def __post_init__(self) -> None:
        check_limits(self, "race")
