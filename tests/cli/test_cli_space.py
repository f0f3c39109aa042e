"""`vidnas space`: what it prints, what it refuses, and that it stays light."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vidnas.arch.cost import network_cost
from vidnas.arch.registry import get_spec, list_models
from vidnas.arch.spec import ArchSpec
from vidnas.cli.main import main
from vidnas.search.costs import CostTable
from vidnas.search.space.published.registry import list_spaces, resolve_space
from vidnas.search.space.published.scaled import tiny_space
from vidnas.search.space.space import Space

EXAMPLE = str(Path(__file__).parents[2] / "docs" / "examples" / "x3d_s_64.yaml")


def output(capsys, *argv: str) -> str:
    assert main(["space", *argv]) == 0
    return capsys.readouterr().out


def test_info_tells_decisions_costs_and_coverage(capsys):
    text = output(capsys, "info", EXAMPLE)
    space = resolve_space(EXAMPLE)
    assert text.startswith(f"x3d_s_64 ({space.content_hash}): 60,750 architectures, 9 decisions\n")
    assert "88.26 MMACs to 0.351 GMACs @ 8x64x64, 2.641 to 5.450 M params" in text
    assert "groups.1.attention  none, glore 24x48 after 3\n" in text
    # 16, 24, 32 in four parts of 8: see tests/search/space/test_windows.py.
    assert "16, 24, 32               3 3 2 1          3 2 2 2          3 2 2 2\n" in text


def test_info_of_two_streams_counts_what_each_step_chooses_from(capsys):
    text = output(capsys, "info", "auto_tsnet")
    assert text.startswith("auto_tsnet_space (314d5baf38ba): 3.80e+57 architectures, 88 decisions\n")
    assert "0.770 GMACs to 13.611 GMACs @ 32x160x160" in text
    assert "step by step: stream 0 3.31e+24, stream 1 and fusions 2.81e+29, attention 4,096\n" in text
    assert "fusions.10.kind" in text
    assert "none, time_strided_convolution, time_to_channel, time_strided_sampling\n" in text


def test_info_as_json_is_the_space(capsys):
    report = json.loads(output(capsys, "info", "tiny", "--json"))
    space = tiny_space()
    assert (report["name"], report["clip"], report["size"]) == (space.name, "8x48x48", space.size)
    assert report["content_hash"] == space.content_hash
    assert [v["name"] for v in report["variables"]] == [str(v) for v in space.variables]
    assert [len(v["options"]) for v in report["variables"]] == list(space.sizes)
    for metric in ("macs", "params"):
        table = CostTable.of(space, metric)
        assert report["cheapest"][metric] == table.cheapest()[1]
        assert report["dearest"][metric] == table.dearest()[1]
    assert report["coverage"][1]["fair"] == [5, 5, 3, 3, 3, 3, 3]


def test_info_at_another_clip(capsys):
    report = json.loads(output(capsys, "info", "tiny", "--clip", "4x32", "--json"))
    assert report["clip"] == "4x32x32"
    clip = tiny_space().clip.resized("4x32")
    assert report["cheapest"]["macs"] == CostTable.of(tiny_space(clip)).cheapest()[1]


def test_samples_are_of_the_space_and_within_the_target(capsys, tmp_path):
    out = tmp_path / "deep" / "found"
    arguments = ("sample", "tiny", "-n", "7", "--seed", "3", "--target-macs", "4M")
    lines = output(capsys, *arguments, "--out", str(out)).splitlines()
    specs = [ArchSpec.load(line.split()[-1]) for line in lines]
    assert len({spec.content_hash for spec in specs}) == len(list(out.iterdir())) == 7
    for line, spec in zip(lines, specs, strict=True):
        assert tiny_space().encode(spec)
        assert network_cost(spec).macs <= 4e6
        assert line.startswith(f"{spec.name}  {network_cost(spec)}  ")
    assert [line.split("  ")[0] for line in lines] == [
        line.split("  ")[0] for line in output(capsys, *arguments).splitlines()
    ]
    fewer = output(capsys, "sample", "tiny", "-n", "2", "--seed", "3", "--target-macs", "4M")
    assert [line.split("  ")[0] for line in fewer.splitlines()] == [spec.name for spec in specs[:2]]
    assert output(capsys, "sample", "tiny", "-n", "2", "--seed", "4", "--target-macs", "4M") != fewer


def test_every_option_is_sampled(capsys, tmp_path):
    """And a space can be sampled to its last architecture."""
    text = get_spec("x3d_s").to_yaml().replace("channels: 48", "channels: [40, 48]").replace("t: 5", "t: 3")
    file = tmp_path / "small.yaml"
    file.write_text(
        text.replace(
            "kernel: {t: 3, s: 3}\n        attention", "kernel: [{t: 1, s: 3}, {t: 3, s: 3}]\n        attention"
        )
    )
    assert resolve_space(str(file)).size == 2**5
    names = {line.split()[0] for line in output(capsys, "sample", str(file), "-n", "32").splitlines()}
    assert len(names) == 32


@pytest.mark.parametrize("name", [*list_models(), *list_spaces()])
def test_templates_are_spaces(capsys, tmp_path, name):
    file = tmp_path / "mine.yaml"
    file.write_text(output(capsys, "template", name))
    space = Space.load(file)
    if name in list_spaces():
        assert space == resolve_space(name)
        return
    assert space.size == 1
    assert space.encode(get_spec(name)) == ()
    assert output(capsys, "validate", str(file)) == f"{file}: OK, 1 architecture, 0 decisions\n"


def test_validate(capsys, tmp_path):
    assert output(capsys, "validate", EXAMPLE) == f"{EXAMPLE}: OK, 60,750 architectures, 9 decisions\n"
    file = tmp_path / "broken.yaml"
    file.write_text(Path(EXAMPLE).read_text(encoding="utf-8").replace("to: 64", "to: 62"))
    assert main(["space", "validate", str(file)]) == 1
    assert capsys.readouterr().err == (
        f"vidnas: error: {file}, line 19: streams.0.groups.1.channels.to: not reached from 32 in steps of 8; "
        "end at 64\n"
    )


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["inf"], 2, "vidnas space has no command 'inf'; did you mean info?"),
        (["qqq"], 2, "vidnas space has no command 'qqq'; it has info, sample, validate, template"),
        (["info"], 2, "vidnas space info needs FILE|NAME"),
        (["info", "tinny"], 1, "no search space called 'tinny'; did you mean tiny?"),
        (["info", "zzz"], 1, "'zzz'; there are auto, autox3d, auto_tsnet, auto_tsnet_backbone, manual_tsnet_fusions, "),
        (["info", "auto"], 1, "auto is made for videos and a target; `vidnas search --dry-run` tells what it comes to"),
        (["info", "x3d_s"], 1, "x3d_s is a network; `vidnas space template x3d_s` starts a space from it"),
        (["info", "none.yaml"], 1, "none.yaml: cannot read the space (No such file or directory)"),
        (["info", "tiny", "--clip", "8"], 1, "clip '8': write frames x size"),
        (["sample", "tiny", "-n", "0"], 2, "-n 0: give a whole number above 0"),
        (["sample", "tiny", "--seed", "-1"], 2, "--seed -1: give a whole number, 0 or more"),
        (["sample", "tiny", "--target-macs", "1M"], 1, "costs 1.00 MMACs @ 8x48x48, the cheapest 2.88 MMACs"),
        (["sample", "tiny", "--target-macs", "2.89M"], 1, "5 architectures are asked for, 1 were found"),
        (["sample", "tiny", "--target-macs", "much"], 1, "--target-macs 'much': write multiply-adds"),
        (["sample", "tiny", "-n", "100000000"], 1, "has 39366000 architectures, 100000000 are asked for"),
        (["template", "x3d_ss"], 1, "no network called 'x3d_ss'; did you mean x3d_s?"),
        (["validate", "tiny"], 1, "tiny: cannot read the space"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_a_code(argv, code, message, capsys):
    assert main(["space", *argv]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("vidnas: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_no_framework_is_loaded(tmp_path):
    code = (
        "import sys\n"
        "from vidnas.cli.main import main\n"
        f"assert main(['space', 'info', {EXAMPLE!r}]) == main(['space', 'validate', {EXAMPLE!r}]) == 0\n"
        "assert main(['space', 'sample', 'tiny', '--target-macs', '5M', '--out', 'x']) == 0\n"
        "assert main(['space', 'template', 'x3d_s']) == 0\n"
        "heavy = {'torch', 'torchvision', 'lightning', 'matplotlib', 'jsonargparse', 'av'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stderr == "[]\n"
