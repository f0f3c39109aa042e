"""The page: complete, self-contained, honest, well-formed, deaf to hostile text."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_example import CLASSES, CURVES, SEARCH, SEARCHED, STEP, X3D, in_steps, report, search_report

from vidnas.arch.registry import get_spec
from vidnas.base.errors import VidnasError
from vidnas.report.data import (
    AccuracyPoint,
    DataSummary,
    MultiLabelNetworkResult,
    PairedComparison,
    Racer,
    RaceSummary,
    RunReport,
)
from vidnas.report.page import page, search_page, write_report
from vidnas.report.picture import clean
from vidnas.report.race_charts import standings
from vidnas.report.search_data import SearchCurves, SearchSummary, StepSummary
from vidnas.report.verdict import SPREAD, race_text, verdict

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Reader(HTMLParser):
    """Collects tags and text, and checks that every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


def headings(html: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", html)


def test_every_section_is_there():
    html = page(report())
    assert headings(html) == [
        "Accuracy against cost",
        "The search",
        "The architecture",
        "Probabilities",
        "Classes",
        "Data",
        "Commands and versions",
    ]
    text = " ".join(read(html).text)
    for fact in (
        "seed 7",
        "90.0%",  # searched: 27 of 30
        "76.7%",  # X3D: 23 of 30
        "5,184 architectures of 12 decisions",
        "Entropy of the distribution, H / H0",
        "autox3d_s_no_attention",
        "1.971 GMACs @ 13x160x160",
        "1.963 GMACs @ 13x160x160",
        "1×3²",
        "only the searched network is right on 6 videos, only X3D on 2; exact McNemar p = 0.289 compares",
        "holdout",
        "column 'age' ignored",
        "1 file set aside",
        "vidnas run --data 'a & b' --seed 7",
        "1 h 01 min",
        "812 MiB",
        "two cores",
        "One seed only.",
    ):
        assert fact in text, fact


def test_nothing_is_fetched_and_nothing_runs():
    reader = read(page(report()))
    names = {tag for tag, _ in reader.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "image", "use", "base", "form"}
    for tag, attributes in reader.tags:
        assert not {"src", "href", "xlink:href", "srcset", "background", "action"} & set(attributes), tag
        assert not any(name.startswith("on") for name in attributes), tag
    html = page(report())
    assert not re.search(r"url\(|@import|@font-face", html)
    assert set(re.findall(r"https?://[^\"' <]*", html)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in html


def everywhere(text: str) -> RunReport:
    """A report with this text wherever a text may stand."""
    spec = SEARCHED.spec.model_copy(update={"name": text.replace("\udcff", "")})  # a spec is JSON, thus UTF-8
    space = replace(STEP.space, name=text, explanation=text)
    beliefs = tuple(replace(belief, name=text, options=(text, "b")) for belief in STEP.beliefs)
    data = DataSummary(text, (text, *CLASSES[1:]), ((text, 1),), ((1, 2),) * 3, (text,), ((text, text),))
    return report(
        title=text,
        date=text,
        commands=(text,),
        versions=((text, text),),
        data=data,
        searched=replace(SEARCHED, label=text, spec=spec, views=text),
        points=(AccuracyPoint(text, "random", 1.97e9, 0.5),),
        search=SearchSummary(space, (replace(STEP, name=text, space=space, spec=spec, beliefs=beliefs),) * 2, text),
        phases=tuple(replace(phase, name=text) for phase in report().phases),
        notes=(text,),
    )


def test_hostile_text_stays_text():
    html = page(everywhere("</title></style><script>alert(1)</script>\x00\udcff\"'&"))
    assert "<script" not in html
    html.encode()  # a file name that is no UTF-8 must not stop the page
    assert [tag for tag, _ in read(html).tags] == [tag for tag, _ in read(page(everywhere("x"))).tags]
    assert "�" in html


def test_a_page_without_search_or_baseline():
    bare = report(x3d=None, paired=None, search=None, points=(), phases=(), notes=())
    html = page(bare)
    assert headings(html) == ["Accuracy against cost", "The architecture", "Classes", "Data", "Commands and versions"]
    assert "it was not compared with X3D" in html
    assert "McNemar" not in html


FIGURES = "Searched 90.0%, X3D 76.7% top-1 on 30 test videos at 1.971 GMACs and 1.963 GMACs @ 13x160x160"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, f"{FIGURES}: one training each, which does not say which architecture is better."),
        ({"paired": PairedComparison(40, 2)}, f"{FIGURES}: one training each, which does not say which"),
        ({"paired": None}, f"{FIGURES}: one training each"),
        ({"seeds": (0, 1, 2)}, f"{FIGURES}: means of 3 trainings each, in pairs from the same seeds."),
        ({"searched": replace(SEARCHED, correct=9)}, "Searched 30.0%, X3D 76.7% top-1"),
        ({"searched": replace(SEARCHED, spec=get_spec("autox3d_s"))}, "13x160x160, not at equal multiply-adds: one"),
    ],
)  # fmt: skip
def test_one_training_each_claims_nothing_of_architectures(changes, sentence):
    assert sentence in verdict(report(**changes))
    html = page(report(**changes))
    assert clean(verdict(report(**changes))) in html
    text = " ".join(read(html).text)
    assert not re.search(r"[Bb]etter than|[Aa]head of|[Ww]orse than|\bbeats\b|significant", text)
    # p stands with what it compares, and not among the figures at the top.
    for place in re.finditer(r"p [<=] 0\.\d+", text):
        assert text[place.end() :].startswith(" compares these two trained networks on these videos, not the arch")
    assert "McNemar" not in text[: text.index("Accuracy against cost")]
    assert ("gave 33 to 61%" in text) == ("seeds" not in changes)


def test_the_spread_told_is_the_one_that_was_measured():
    measured = json.loads((Path(__file__).parents[2] / "benchmarks/results/demo_seeds.json").read_text())
    low, high = min(measured["top1_percent"]), max(measured["top1_percent"])
    assert (len(measured["seeds"]), f"gave {low:.0f} to {high:.0f}%") == (8, "gave 33 to 61%")
    assert "eight seeds, gave 33 to 61%" in SPREAD


def test_x3d_is_called_equal_in_cost_only_where_it_is():
    dearer = replace(SEARCHED, spec=get_spec("autox3d_s"))  # 10% above X3D-S
    assert "X3D at equal cost" not in page(report(searched=dearer))
    assert "X3D at equal cost" in page(report())


def test_class_accuracies_and_confusions():
    assert SEARCHED.per_class == (0.9, 0.8, 1.0)
    empty = replace(SEARCHED, confusion=((0, 0, 0), (2, 8, 0), (0, 0, 10)))
    assert empty.per_class[0] is None
    html = page(report(searched=empty))
    assert "right taken for left: 2 of 10" in html
    assert (
        page(report(searched=replace(SEARCHED, confusion=()), x3d=replace(X3D, confusion=()))).count("<h2>Classes") == 0
    )


def test_a_large_class_list_is_told_in_words():
    n = 150
    confusion = tuple(tuple(9 if i == j else int(j == i + 1) for j in range(n)) for i in range(n))
    classes = tuple(f"class {i}" for i in range(n))
    data = replace(report().data, classes=classes, counts=())
    big = replace(SEARCHED, correct=9 * n, videos=10 * n - 1, confusion=confusion)
    html = page(report(data=data, searched=big, x3d=None, paired=None))
    assert "Most frequent confusions" in html
    assert "Confusion matrix" not in html
    assert len(html) < 300_000


def test_points_of_the_chart():
    kinds = [point.kind for point in report().all_points]
    assert kinds == ["searched", "x3d", "random", "random"]
    point = report().all_points[0]
    assert point.low < point.value == 0.9 < point.high
    # Means over seeds replace the single run's point.
    given = AccuracyPoint("searched, 3 seeds", "searched", 1.97e9, 0.8, 0.7, 0.9)
    assert [p.label for p in report(points=(given,)).all_points] == ["X3D", "searched, 3 seeds"]


def test_several_seeds_say_of_which_training_the_tables_are():
    of_one = "95% interval (Wilson)"
    assert of_one in page(report())
    seeds = replace(report(), seeds=(7, 8), searched=replace(SEARCHED, of_seeds=(0.9, 0.7)))
    html = page(replace(seeds, x3d=replace(X3D, of_seeds=(0.5, 0.6))))
    assert of_one not in html
    assert "the lowest to the highest of 2 seeds. All else: the training with seed 7." in html


def test_standings_say_who_failed_and_at_which_clip():
    racers = (
        Racer("a", "x3d", X3D.cost, "16x56x56 uniform", (0.5, 0.75), yardstick=True, won=True),
        Racer("b", "x3d", X3D.cost, "16x56x56 stride", (0.5,), failed=True),
        Racer("c", "random", X3D.cost, "16x56x56 uniform", (), failed=True),
    )
    assert [row[2].partition(" @ ")[2] for row in standings(racers)] == [racer.clip for racer in racers]
    assert [row[4] for row in standings(racers)] == ["62.5%", "50.0%, then failed", "failed"]
    told = race_text(RaceSummary(racers[:2], racers, 5))
    assert told.startswith("5 trainings (2 networks left as a training failed) on folds")


def test_curves_with_gaps_and_wild_values():
    def with_curves(curves: SearchCurves) -> RunReport:
        return report(search=replace(SEARCH, steps=(replace(STEP, curves=curves),)))

    points = CURVES.points
    gaps = tuple(
        replace(p, derived_cost={} if p.at % 10 else {"macs": 2e9}, beta={}, train_loss=float("nan")) for p in points
    )
    html = page(with_curves(SearchCurves(gaps, "epoch")))
    assert "Weight of the cost" not in html
    assert "nan" not in html.lower().replace("naming", "")
    assert page(with_curves(SearchCurves(points[:1])))
    assert "<h2>The search</h2>" in page(with_curves(SearchCurves(())))


def rows(html: str) -> list[list[str]]:
    """The cells of every row of every table."""
    lines = re.findall(r"<tr>(.*?)</tr>", html)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in lines]


def test_entropy_and_time_of_a_search_stand_in_a_row():
    html = page(report())
    [row] = [row for row in rows(html) if row and row[0] == "1: everything at once"]
    cost = "1.971 GMACs @ 13x160x160"
    assert row[1:] == ["1 h 00 min", cost, "1.970 GMACs", row[4], "4.2", "8.5", "0.50", "75.0%"]
    assert "top-1 on the holdout" in html
    assert "sum" not in [row[0] for row in rows(html) if row]
    assert "Step 1" not in html


def test_steps_have_rows_charts_networks_and_probabilities_of_their_own():
    """The last row has the sums over the steps, and H / H0 is that of the sums."""
    html = page(report(search=in_steps()))
    table = {row[0]: row[1:] for row in rows(html) if row}
    assert table["1: stream 0"][0] == "1 min 00 s"
    assert table["2: the rest"][1] == "2.015 GMACs @ 32x160x160"
    assert table["2: the rest"][4:7] == ["1.0", "4.0", "0.25"]
    assert table["sum"] == ["2 min 30 s", "", "", "", "3.0", "12.0", "0.25", ""]
    first, second = (html.index(f"<h3>Step {number}: ") for number in (1, 2))
    networks = (html.index(f"Architecture of {name}") for name in ("autox3d_s_no_attention", "manual_tsnet_55"))
    assert first < next(networks) < second < next(networks)
    beliefs = html[html.index("<h2>Probabilities</h2>") :]
    assert beliefs.index("Step 1: stream 0") < beliefs.index("group 1, kernel") < beliefs.index("Step 2: the rest")
    assert beliefs.index("Step 2: the rest") < beliefs.index("group 2, attention")


def test_a_step_that_had_nothing_to_choose():
    step: StepSummary = replace(STEP, entropy=0.0, initial_entropy=0.0, beliefs=())
    assert [row[5:8] for row in rows(page(report(search=replace(SEARCH, steps=(step,))))) if "0.0" in row] == [
        ["0.0", "0.0", "–"]
    ]


def test_the_page_of_a_search_claims_no_training():
    html = search_page(search_report())
    read(html)
    assert headings(html) == ["The search", "The architecture", "Probabilities", "Data", "Commands and versions"]
    text = " ".join(read(html).text)
    for fact in ("It is not trained", "1.971 GMACs @ 13x160x160", "vidnas search --data clips", "0.50", "holdout"):
        assert fact in text, fact
    assert "test videos" not in text
    winner = Racer("found", "supernet", SEARCHED.cost, "4x32x32 uniform", (0.75,), won=True)
    race = RaceSummary((), (winner, Racer("x3d", "x3d", X3D.cost, "4x32x32 stride", (0.5,), yardstick=True)), 2)
    raced = search_page(search_report(race=race, search=in_steps()))
    assert headings(raced)[0] == "The race"
    assert "The race of what was proposed chose a network of 1.971 GMACs" in raced
    assert "from the source supernet" in raced


def test_the_page_is_the_same_every_time(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from report_example import report; from vidnas.report.page import write_report\n"
        "write_report(sys.argv[1], report())\n"
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / f"{seed}.html")], check=True, env=environment)
    assert (tmp_path / "1.html").read_bytes() == (tmp_path / "2.html").read_bytes()
    assert (tmp_path / "1.html").read_text(encoding="utf-8") == page(report())


def test_a_page_that_cannot_be_written(tmp_path):
    with pytest.raises(VidnasError, match=r"none/report\.html: cannot be written \(no such file or directory\)"):
        write_report(tmp_path / "none" / "report.html", report())


def test_networks_for_several_labels_are_shown_by_average_precision() -> None:
    rest = {"map_micro": 0.4, "hit1": 0.7, "per_class": (0.5, None, 0.9)}
    searched, x3d = (
        MultiLabelNetworkResult(one.label, one.kind, one.spec, 30, "2x1", map_macro=value, **rest)
        for one, value in ((SEARCHED, 0.7), (X3D, 0.65))
    )
    text = page(report(searched=searched, x3d=x3d, paired=None, points=(), search=replace(SEARCH, metric="mAP")))
    assert "Searched 70.0%, X3D 65.0% mAP" in text
    assert "Average precision of each class" in text
    assert '<td>right</td><td class="number">–</td>' in text
    assert "hit@1" in text
    assert "mAP, %" in text
    for word in ("McNemar", "Wilson", "Confusion", "guessing", "top-1"):
        assert word not in text
    alone = page(report(searched=searched, x3d=None, paired=None, points=()))
    assert "has a mAP of 70.0% on 30 test videos" in alone
