"""A report to test with, small and of made-up figures."""

from dataclasses import replace

from vidnas.arch.registry import get_spec
from vidnas.report.data import (
    AccuracyPoint,
    ClassifierResult,
    DataSummary,
    PairedComparison,
    Phase,
    RunReport,
    SearchReport,
)
from vidnas.report.search_data import (
    BudgetSummary,
    SearchCurves,
    SearchPoint,
    SearchSummary,
    SpaceSummary,
    StepSummary,
    VariableBelief,
)

CLASSES = ("left", "right", "<b>up</b>")


def result(label: str, kind, name: str, confusion) -> ClassifierResult:
    correct = sum(row[i] for i, row in enumerate(confusion))
    videos = sum(map(sum, confusion))
    return ClassifierResult(label, kind, get_spec(name), videos, "2x1", correct=correct, confusion=confusion)


SEARCHED = result("searched", "searched", "autox3d_s_no_attention", ((9, 1, 0), (2, 8, 0), (0, 0, 10)))
X3D = result("X3D", "x3d", "x3d_s", ((7, 2, 1), (3, 7, 0), (0, 1, 9)))


SPACE = SpaceSummary("tiny", 5184, 12, "The rung nearest the target.", (BudgetSummary("macs", 1.97e9, 0.9e9, 4e9),))
CURVES = SearchCurves(
    tuple(
        SearchPoint(step, 1 - step / 100, {"macs": 2e9 - step * 1e6}, {"macs": 1.9e9}, {"macs": 0.3}, 2 - step / 50)
        for step in range(50)
    ),
    warmup_until=16,
)
STEP = StepSummary(
    name="everything at once",
    space=SPACE,
    spec=SEARCHED.spec,
    wall_sec=3605.0,
    entropy=4.25,
    initial_entropy=8.5,
    holdout=0.75,
    curves=CURVES,
    beliefs=(VariableBelief("group 1, kernel", ("1×3²", "3×3²"), (0.25, 0.75), 1),),
)
SEARCH = SearchSummary(SPACE, (STEP,), "top-1")


def in_steps() -> SearchSummary:
    """A progressive search, whose second step found a network of two streams."""
    first = replace(STEP, name="stream 0", wall_sec=60.0, entropy=2.0, initial_entropy=8.0)
    spec, other = get_spec("manual_tsnet_55"), VariableBelief("group 2, attention", ("none", "glore"), (0.5, 0.5), 0)
    second = replace(first, name="the rest", spec=spec, wall_sec=90.0, entropy=1.0, initial_entropy=4.0)
    return SearchSummary(SPACE, (first, replace(second, beliefs=(other,))), "top-1")


def search_report(**changes) -> SearchReport:
    whole = report()
    full = SearchReport(
        title="A search",
        date=whole.date,
        seed=7,
        commands=("vidnas search --data clips",),
        versions=whole.versions,
        data=whole.data,
        search=SEARCH,
        spec=SEARCHED.spec,
        notes=("One seed only.",),
    )
    return replace(full, **changes)


def report(**changes) -> RunReport:
    full = RunReport(
        title="A search",
        date="2025-01-31",
        seeds=(7,),
        commands=("vidnas run --data 'a & b' --seed 7",),
        versions=(("vidnas", "0.1.0"), ("processor", "two cores")),
        data=DataSummary(
            source="clips",
            classes=CLASSES,
            splits=(("weights", 20), ("alpha", 6), ("holdout", 4), ("test", 30)),
            counts=((10, 10), (10, 10), (10, 10)),
            notices=("column 'age' ignored",),
            broken=(("x<y>.mp4", "no video stream"),),
        ),
        searched=SEARCHED,
        x3d=X3D,
        paired=PairedComparison(6, 2),
        points=(AccuracyPoint("random 1", "random", 1.97e9, 0.7), AccuracyPoint("random 2", "random", 1.96e9, 0.66)),
        search=SEARCH,
        phases=(Phase("search", 3700, 812.4), Phase("test", 12.3)),
        notes=("One seed only.",),
    )
    return replace(full, **changes)
