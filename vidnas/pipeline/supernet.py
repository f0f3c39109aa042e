"""The search on a supernet that was asked for, in one step or several."""

from dataclasses import dataclass
from typing import Any

from vidnas.arch.spec import ArchSpec
from vidnas.engine.supernet.config import SearchConfig
from vidnas.pipeline.baselines import search_with_baselines
from vidnas.pipeline.plan import SearchPlan
from vidnas.pipeline.prepare import SearchInputs, SearchRequest
from vidnas.pipeline.progressive import divided, search_progressively
from vidnas.pipeline.search import SearchStep
from vidnas.search.proposals import Proposal, different_in_turn
from vidnas.search.space.progressive import STEPS


@dataclass(frozen=True)
class Searched:
    """A search on a supernet, and what it found.

    Attributes:
        plan: of the whole.
        steps: one, which is the whole, or those of a progressive search in their order.
    """

    plan: SearchPlan
    steps: tuple[SearchStep, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What each step has searched."""
        return STEPS if len(self.steps) > 1 else ("everything at once",)

    @property
    def last(self) -> SearchStep:
        """The one that the others lead to."""
        return self.steps[-1]

    @property
    def spec(self) -> ArchSpec:
        """The network found."""
        return self.last.result.spec

    @property
    def alpha_steps(self) -> int:
        """Steps on alpha, of all steps together."""
        return sum(step.result.record["alpha_steps"] for step in self.steps)

    def proposals(self) -> list[Proposal]:
        """The last candidates, the one that was derived first, in turn with those of baselines on its supernet."""
        space, record = self.last.plan.space, self.last.result.record
        found = {"supernet": record["candidates"]}
        found |= {
            f"{name} on the supernet": baseline["candidates"] for name, baseline in record.get("baselines", {}).items()
        }
        sources = [
            [Proposal(space.decode(tuple(candidate["choice"])), source) for candidate in candidates]
            for source, candidates in found.items()
        ]
        return list(different_in_turn(sources))

    def summary(self) -> list[dict[str, Any]]:
        """The steps as builtins, the same however often the search was interrupted."""
        return [{"step": name, **step.summary()} for name, step in zip(self.names, self.steps, strict=True)]


def search_on_supernet(request: SearchRequest, inputs: SearchInputs, config: SearchConfig) -> Searched:
    """Search as the request says; several processes all call this, the first one writes and logs.

    Args:
        request: one step or several, and where results go.
        inputs: what it was prepared to.
        config: settings, with the length that was settled.

    Raises:
        Interrupted: stopped by a signal; the state is saved.
        VidnasError: as `vidnas.pipeline.search.search_videos`.
    """
    plan, root = inputs.plan, request.out / request.search_folder
    if request.progressive:
        steps = divided(plan.space, request.targets, config, request.step_macs)
        found = search_progressively(plan.space, plan.train, steps, request.data, root, resume=request.resume)
        return Searched(plan, found.steps)
    result = search_with_baselines(plan, request.data, inputs.data, config, root, resume=request.resume)
    return Searched(plan, (SearchStep(plan, result),))
