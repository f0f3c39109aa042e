"""What a report is made from: plain data, gathered by whoever ran the job."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

from vidnas.arch.cost import Cost, network_cost
from vidnas.arch.spec import ArchSpec
from vidnas.report.search_data import SearchSummary
from vidnas.report.statistics import mcnemar_exact, wilson_interval

Kind = Literal["searched", "x3d", "random", "other"]


@dataclass(frozen=True)
class DataSummary:
    """The data set.

    Attributes:
        source: path or name, as given.
        classes: names in the order of their labels.
        splits: name and number of videos of each part ("weights", 300), in the order of use.
        counts: videos of each class in training and test, in the order of `classes`.
        notices: what the loader wants the user to know.
        broken: path and cause of every file set aside.
        looked_at: in which lists files were looked for that cannot be read.
    """

    source: str
    classes: tuple[str, ...]
    splits: tuple[tuple[str, int], ...]
    counts: tuple[tuple[int, int], ...] = ()
    notices: tuple[str, ...] = ()
    broken: tuple[tuple[str, str], ...] = ()
    looked_at: str = "these lists"


@dataclass(frozen=True)
class NetworkResult(ABC):
    """A trained and tested network; what differs per task is in subclasses.

    Attributes:
        label: what to call it, "searched" or "X3D".
        kind: colours it.
        spec: the network.
        videos: number of test videos scored.
        views: clips x crops per video.
        of_seeds: the headline figure of each training; what else is said is of the first.
    """

    # The figure that networks are compared by, what it is on each class, and what its error bars are.
    metric: ClassVar[str]
    class_metric: ClassVar[str]
    bars: ClassVar[str]

    label: str
    kind: Kind
    spec: ArchSpec
    videos: int
    views: str = "1x1"
    of_seeds: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        """The headline figure over all trainings."""
        return sum(self.of_seeds) / len(self.of_seeds) if self.of_seeds else self.headline

    @property
    @abstractmethod
    def headline(self) -> float:
        """The figure that networks are compared by, in [0, 1]."""

    @property
    @abstractmethod
    def interval(self) -> tuple[float | None, float | None]:
        """Ends of its error bar; None where there is none."""

    @property
    @abstractmethod
    def per_class(self) -> tuple[float | None, ...]:
        """The figure of each class; None for one without test videos, empty where it is not known."""

    @property
    @abstractmethod
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Header and cell of each column of figures."""

    @property
    @abstractmethod
    def claim(self) -> str:
        """What the network does, as `classifies 80.0% of 20 test videos correctly`."""

    @property
    def cost(self) -> Cost:
        """Of one clip at the training crop."""
        return network_cost(self.spec)

    def costs_as_much_as(self, other: "NetworkResult") -> bool:
        """Whether multiply-adds agree to 1%, on the same clip."""
        ours, theirs = self.cost, other.cost
        return ours.clip == theirs.clip and abs(ours.macs - theirs.macs) <= 0.01 * ours.macs


@dataclass(frozen=True)
class ClassifierResult(NetworkResult):
    """A network that gives each video one class.

    Attributes:
        correct: number of test videos whose best class is right.
        top5: share of videos with the right class among five; None with five classes or fewer.
        confusion: row = right class, column = predicted; may be left out.
    """

    metric: ClassVar[str] = "top-1"
    class_metric: ClassVar[str] = "Accuracy"
    bars: ClassVar[str] = (
        "Bars: 95% interval (Wilson) for this number of videos; what another seed would change comes on top."
    )

    correct: int = field(kw_only=True)
    top5: float | None = None
    confusion: tuple[tuple[int, ...], ...] = ()

    @property
    def headline(self) -> float:
        """Share of videos whose best class is right."""
        return self.correct / self.videos

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, for this number of videos."""
        return wilson_interval(self.correct, self.videos)

    @property
    def per_class(self) -> tuple[float | None, ...]:
        """Accuracy of each class."""
        return tuple(row[i] / sum(row) if sum(row) else None for i, row in enumerate(self.confusion))

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Accuracies and the number of right videos."""
        top5 = "–" if self.top5 is None else f"{100 * self.top5:.1f}%"
        right = f"{self.correct} of {self.videos}"
        return ("top-1", f"{100 * self.headline:.1f}%"), ("top-5", top5), ("right", right)

    @property
    def claim(self) -> str:
        """Its accuracy in words."""
        return f"classifies {100 * self.headline:.1f}% of {self.videos} test videos correctly"


@dataclass(frozen=True)
class MultiLabelNetworkResult(NetworkResult):
    """A network that gives each video any number of classes.

    Attributes:
        map_macro: mean of the classes' average precisions.
        map_micro: average precision of all pairs of a video and a class.
        hit1: share of videos that show their best class.
        per_class: average precision of each class; None for one without test videos.
    """

    metric: ClassVar[str] = "mAP"
    class_metric: ClassVar[str] = "Average precision"
    bars: ClassVar[str] = "mAP is the mean of the classes' average precisions; another seed would change it."

    map_macro: float = field(kw_only=True)
    map_micro: float = field(kw_only=True)
    hit1: float = field(kw_only=True)
    per_class: tuple[float | None, ...] = ()

    @property
    def headline(self) -> float:
        """The mean over classes."""
        return self.map_macro

    @property
    def interval(self) -> tuple[None, None]:
        """Not known from one test."""
        return None, None

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Average precisions and hit@1."""
        figures = {"mAP": self.map_macro, "micro": self.map_micro, "hit@1": self.hit1}
        return tuple((name, f"{100 * value:.1f}%") for name, value in figures.items())

    @property
    def claim(self) -> str:
        """Its mAP in words."""
        return f"has a mAP of {100 * self.map_macro:.1f}% on {self.videos} test videos"


@dataclass(frozen=True)
class PairedComparison:
    """The searched network and X3D on the same test videos."""

    only_searched_right: int
    only_x3d_right: int

    @property
    def p_value(self) -> float:
        """Exact two-sided McNemar test."""
        return mcnemar_exact(self.only_searched_right, self.only_x3d_right)


@dataclass(frozen=True)
class Racer:
    """A network in a race.

    Attributes:
        name: of the spec.
        source: where it came from.
        cost: of one clip.
        clip: with how its frames are chosen.
        scores: its figure on the fold of each round that it ran.
        won: whether it is the winner.
        yardstick: whether it is X3D at the clip of the networks.
        failed: whether a training of it failed, so that it left.
        amounts: what it takes of each budget, by metric.
    """

    name: str
    source: str
    cost: Cost
    clip: str
    scores: tuple[float, ...]
    won: bool = False
    yardstick: bool = False
    failed: bool = False
    amounts: Mapping[str, float] = field(default_factory=dict)

    @property
    def mean(self) -> float | None:
        """Over its rounds; None where its first training failed."""
        return sum(self.scores) / len(self.scores) if self.scores else None


class Lead(NamedTuple):
    """By how many points the first on the folds is ahead of X3D over so many rounds, and the standard error of that."""

    points: float
    error: float
    rounds: int


@dataclass(frozen=True)
class RaceSummary:
    """Trainings to the end on folds of the training list, round by round.

    Attributes:
        clips: X3D at each clip, the best first; empty where the clip was given.
        networks: at the clip that won, the best first.
        trials: trainings in all.
        lead: of the first network against X3D; None where that is X3D, or X3D failed.
        early: how far their losses on the way foretold their results, in words; empty where it is not known.
        equal: what all of them have in common, in words.
    """

    clips: tuple[Racer, ...]
    networks: tuple[Racer, ...]
    trials: int
    lead: Lead | None = None
    early: str = ""
    equal: str = ""

    @property
    def winner(self) -> Racer:
        """The network to be used."""
        return next(racer for racer in self.networks if racer.won)

    @property
    def yardstick(self) -> Racer:
        """X3D at their clip."""
        return next(racer for racer in self.networks if racer.yardstick)

    @property
    def failed(self) -> int:
        """Networks of which a training failed."""
        return len({racer.name for racer in (*self.clips, *self.networks) if racer.failed})

    @property
    def random(self) -> tuple[float, ...]:
        """What random networks reached in the first round, which all of them ran."""
        return tuple(racer.scores[0] for racer in self.networks if racer.source == "random" and racer.scores)


@dataclass(frozen=True)
class AccuracyPoint:
    """A point of a headline figure in [0, 1] against cost; `low` and `high` span its error bar."""

    label: str
    kind: Kind
    macs: float
    value: float
    low: float | None = None
    high: float | None = None


def accuracy_point(result: NetworkResult) -> AccuracyPoint:
    """The point of one tested network, with its error bar."""
    if len(result.of_seeds) > 1:
        return AccuracyPoint(
            result.label, result.kind, result.cost.macs, result.mean, min(result.of_seeds), max(result.of_seeds)
        )
    return AccuracyPoint(result.label, result.kind, result.cost.macs, result.headline, *result.interval)


@dataclass(frozen=True)
class Phase:
    """A part of the job with what it took; None where it was not measured."""

    name: str
    wall_sec: float
    peak_mib: float | None = None


@dataclass(frozen=True)
class RunReport:
    """Everything on the page. Parts that a job did not have stay empty and leave their section out.

    Attributes:
        title: headline of the page.
        date: day of the run.
        seeds: the seeds used; more than one means that figures are means over them.
        commands: command lines that make this result again.
        versions: name and version of what it ran on, machine included.
        data: the data set.
        searched: the network found.
        x3d: the baseline at equal cost.
        paired: both on the same videos.
        points: other points of the chart, such as random networks; `searched` and `x3d` are added unless a point of
            their kind is given.
        race: how the network was found among others; None where it came from a supernet alone.
        search: on a supernet.
        phases: times and memory.
        notes: deviations and warnings, one sentence each.
    """

    title: str
    date: str
    seeds: tuple[int, ...]
    commands: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    data: DataSummary
    searched: NetworkResult
    x3d: NetworkResult | None = None
    paired: PairedComparison | None = None
    points: tuple[AccuracyPoint, ...] = ()
    race: RaceSummary | None = None
    search: SearchSummary | None = None
    phases: tuple[Phase, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def all_points(self) -> tuple[AccuracyPoint, ...]:
        """`points`, with the two main networks where no point of their kind is given."""
        given = {point.kind for point in self.points}
        own = [result for result in (self.searched, self.x3d) if result and result.kind not in given]
        return (*(accuracy_point(result) for result in own), *self.points)


@dataclass(frozen=True)
class SearchReport:
    """Everything on the page of a search, whose network is not trained yet.

    Attributes:
        title: headline of the page.
        date: day of the search.
        seed: of the search.
        commands: command lines that make this result again.
        versions: name and version of what it ran on, machine included.
        data: the data set.
        search: on a supernet.
        spec: the network found.
        race: of what the search proposes; None where the supernet alone has judged.
        notes: deviations and warnings, one sentence each.
    """

    title: str
    date: str
    seed: int
    commands: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    data: DataSummary
    search: SearchSummary
    spec: ArchSpec
    race: RaceSummary | None = None
    notes: tuple[str, ...] = ()
