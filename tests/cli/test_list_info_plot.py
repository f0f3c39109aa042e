"""`vidnas list`, `info`, `plot`."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from vidnas.arch.registry import get_spec, list_models
from vidnas.cli.main import main


def output(capsys, *argv: str) -> str:
    assert main(argv) == 0
    return capsys.readouterr().out


def test_list_prints_every_network_with_its_clip(capsys):
    lines = output(capsys, "list").splitlines()
    assert [line.split()[0] for line in lines[: len(list_models())]] == list_models()
    assert "x3d_s" in lines[2]
    assert "1.963 GMACs @ 13x160x160" in lines[2]
    assert "3.794 M params" in lines[2]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("x2d", ["x2d"]),
        ("x3d_x", ["x3d_xs", "x3d_xl", "x3d_xxl"]),
        ("x3d_?", ["x3d_s", "x3d_m", "x3d_l"]),
        ("autox3d_*_no_attention", ["autox3d_s_no_attention", "autox3d_m_no_attention", "autox3d_l_no_attention"]),
    ],
)  # fmt: skip
def test_list_filter(capsys, pattern, names):
    assert [row["name"] for row in json.loads(output(capsys, "list", pattern, "--json"))] == names


def test_list_json_is_the_published_cost(capsys):
    (row,) = json.loads(output(capsys, "list", "x3d_xl", "--json"))
    assert row["clip"] == "16x312x312"
    assert round(row["macs"] / 1e9, 2) == 35.84  # X3D Table 1
    assert round(row["weights"] / 1e6, 2) == 10.99


def test_info_json(capsys):
    report = json.loads(output(capsys, "info", "x3d_s", "--json"))
    assert list(report) == ["name", "clip", "head_positions", "content_hash", "note", "layers", "total"]
    assert (report["name"], report["clip"], report["head_positions"]) == ("x3d_s", "13x160x160", "one")
    assert report["content_hash"] == get_spec("x3d_s").content_hash
    assert report["total"]["params"] == 3_794_274  # the official code's count
    for column in ("macs", "weights", "params", "activations"):
        assert report["total"][column] == sum(layer[column] for layer in report["layers"])


@pytest.mark.parametrize(
    ("head", "gmacs"),
    [("one", 2.722), ("all", 2.727)],  # 30-view crop: as the papers print, and with the head's 4 positions
)
def test_info_at_the_test_crop(capsys, head, gmacs):
    report = json.loads(output(capsys, "info", "x3d_s", "--clip", "13x182", "--head", head, "--json"))
    assert (report["clip"], report["head_positions"]) == ("13x182x182", head)
    assert round(report["total"]["macs"] / 1e9, 3) == gmacs


def test_info_table_says_how_it_counted(capsys):
    text = output(capsys, "info", "x3d_s", "--clip", "13x182")
    assert "2.722 GMACs @ 13x182x182" in text
    assert "one position, as the papers print" in text
    assert "all 4" in text
    assert "all 4 positions (--head all)" in output(capsys, "info", "x3d_s", "--clip", "13x182", "--head", "all")
    assert "one position at this clip" in output(capsys, "info", "x3d_s")


def test_info_table_lines_up(capsys):
    lines = output(capsys, "info", "autox3d_s").splitlines()
    table = [line for line in lines if line.startswith(("layer", "streams", "head", "total"))]
    assert len({len(line) for line in table}) == 1
    assert table[-1].split()[1] == f"{2_171_397_530:,}"


def test_info_reads_a_spec_file(capsys, tmp_path):
    path = tmp_path / "found.json"
    path.write_text(get_spec("autox3d_s").to_json())
    from_file = output(capsys, "info", str(path), "--json")
    assert from_file == output(capsys, "info", "autox3d_s", "--json")


def test_info_of_a_broken_spec_names_the_field(capsys, tmp_path):
    data = json.loads(get_spec("x3d_s").to_json())
    data["streams"][0]["groups"][1]["kernel"]["t"] = 2
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(data))
    assert main(["info", str(path)]) == 1
    assert f"{path}, line 1: streams.0.groups.1.kernel: sides must be odd, got 2 x 3 x 3\n" in capsys.readouterr().err


def test_plot_writes_svg_and_png(capsys, tmp_path):
    svg, png = tmp_path / "x.svg", tmp_path / "x.png"
    assert output(capsys, "plot", "autox3d_s", "-o", str(svg)) == f"wrote {svg}\n"
    output(capsys, "plot", "autox3d_s", "--output", str(png))
    root = ElementTree.parse(svg).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    content = png.read_bytes()
    assert content.startswith(b"\x89PNG")
    # PNG header: width at byte 16, height at 20; twice the SVG's size.
    width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
    assert (width, height) == (2 * int(root.get("width")), 2 * int(root.get("height")))


@pytest.mark.parametrize(
    ("name", "message"),
    [("x.pdf", "must end in .svg or .png"), ("none/x.svg", "no such file or directory")],
)
def test_plot_refuses(capsys, tmp_path, name, message):
    assert main(["plot", "x3d_s", "-o", str(tmp_path / name)]) == 1
    assert message in capsys.readouterr().err
