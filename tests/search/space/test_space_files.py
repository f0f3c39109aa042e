"""Space files: what may be written in YAML, and the line and the rule of every mistake."""

from pathlib import Path

import pytest

from vidnas.arch.registry import get_spec, resolve
from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.search.space.published.registry import resolve_space
from vidnas.search.space.space import Space

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "x3d_s_64.yaml"

TEXT = """\
name: mine
clip: {frames: 4, size: 32}
streams:
  - stem:
      channels: 8
    groups:
      - depth: 2
        stride: 2
        channels: [8, 12, 16]
        expansion: [1.5, 2.25]
        kernel:
          - {t: 1, s: 3}
          - {t: 3, s: 3}
      - depth: 3
        stride: 1
        channels: [8, 12, 16]
        expansion: 1.5
        kernel: {t: 3, s: 3}
        attention:
          - none
          - nodes: 8
            states: 16
            after: [1, 3]
    se: {ratio: 0.25, every: 1}
    conv5: 24
"""


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


def test_the_text_that_is_spoilt_below_is_right() -> None:
    space = Space.from_yaml(TEXT)
    assert [(str(v), space.option_names(v)) for v in space.variables] == [
        ("streams.0.groups.0.kernel", ("t1_s3", "t3_s3")),
        ("streams.0.groups.0.expansion", ("1.5", "2.25")),
        ("streams.0.groups.0.channels", ("8", "12", "16")),
        ("streams.0.groups.1.channels", ("8", "12", "16")),
        ("streams.0.groups.1.attention", ("none", "glore 8x16 after 1, 3")),
    ]


# The line that must be named ends in `# here`.
MISTAKES = [
    ("[1.5, 2.25]", "[] # here", "groups.0.expansion: is empty; give at least one choice"),
    ("kernel: {t: 3, s: 3}", "kernel: [] # here", "groups.1.kernel: is empty; give at least one choice"),
    ("kernel: {t: 3, s: 3}", "kernel: # here", "groups.1.kernel.0: is empty; its fields are t, s"),
    ("[8, 12, 16]", "{from: 8, to: 17, step: 4} # here", "channels.to: not reached from 8 in steps of 4; end at 16"),
    ("[8, 12, 16]", "{from: 8, to: 19, step: 4} # here", "channels.to: not reached from 8 in steps of 4; end at 20"),
    ("[8, 12, 16]", "\n          from: 8\n          to: 9 # here\n          step: 4", "in steps of 4; end at 12"),
    ("[1.5, 2.25]", "{from: 1.5, to: 6, step: 0.7} # here", "not reached from 1.5 in steps of 0.7; end at 5.7"),
    ("[8, 12, 16]", "{from: 8, to: 16} # here", "a range is three numbers, as in {from: 12, to: 28, step: 4}"),
    ("[8, 12, 16]", "{from: 8, to: sixteen, step: 4} # here", "a range is three numbers"),
    ("[8, 12, 16]", "{from: 16, to: 8, step: 4} # here", "a range rises in steps above 0"),
    ("[8, 12, 16]", "{from: 8, to: 16, step: 0} # here", "a range rises in steps above 0"),
    ("[8, 12, 16]", "{from: 1, to: 100000, step: 1} # here", "has 100000 choices, more than 100; take larger steps"),
    ("[8, 12, 16]", "{from: 8.5, to: 16.5, step: 4} # here", "groups.0.channels.0: Input should be a valid integer"),
    ("[8, 12, 16]", "[8, 12, 20] # here", "must rise in equal steps, as in 12, 16, 20; 20 follows 12, where 16 would"),
    ("[8, 12, 16]", "[8, 12, 12] # here", "12 follows 12, where 16 would"),
    ("[8, 12, 16]", "[16, 12, 8] # here", "12 follows 16"),
    ("[8, 12, 16]", "[4, 12, 20] # here", "starts at 4, below its step 8; start at the step or above"),
    ("[8, 12, 16]", "[8, twelve, 16] # here", "groups.0.channels.1: Input should be a valid integer"),
    ("- {t: 3, s: 3}\n", "- {t: 1, s: 3} # here\n", "groups.0.kernel.1: t1_s3 is a choice already; name each once"),
    ("- {t: 3, s: 3}\n", "- {t: 2, s: 3} # here\n", "groups.0.kernel.1: sides must be odd, got 2 x 3 x 3"),
    ("- {t: 3, s: 3}\n", "- 3x3 # here\n", "groups.0.kernel.1: is not a mapping; its fields are t, s"),
    (
        "[8, 12, 16]\n        expansion: [1.5, 2.25]",
        "[5, 10]\n        expansion: [1.5, 2.25] # here",
        "1.5~2.25 times 5~10 channels does not give whole numbers of hidden channels in equal steps; take channels in "
        "multiples of 4, or other steps of the expansion",
    ),
    ("expansion: [1.5, 2.25]", "expansion: 0.01 # here", "0.01 times 8~16 channels does not give whole numbers"),
    (
        "[8, 12, 16]\n        expansion: 1.5",
        "[12, 16, 20] # here\n        expansion: 1.5",
        "groups.1.channels: 12 channels in and out have a shortcut that adds different channels of the supernet (8~16 "
        "enter, 12~20 leave); give this group and the one before it the same list, or this group stride 2",
    ),
    (
        "stride: 2\n        channels: [8, 12, 16]",
        "stride: 1\n        channels: [8, 12, 16] # here",
        "(8 enter, 8~16 leave); give the stem another width, or this group stride 2",
    ),
    (
        "depth: 2",
        "depth: [2, 3] # here",
        "depth: must be one value; lists may stand for a group's channels, expansion,",
    ),
    ("depth: 2", "depth: {from: 1, to: 3, step: 1} # here", "depth: must be one value; lists may stand for"),
    ("stride: 1", "stride: [1, 2] # here", "groups.1.stride: must be one value; lists may stand for"),
    ("      channels: 8\n", "      channels: [8, 16] # here\n", "stem.channels: must be one value; lists may stand"),
    ("{ratio: 0.25, every: 1}", "{ratio: [0.25, 0.5], every: 1} # here", "se.ratio: must be one value; lists"),
    ("{ratio: 0.25, every: 1}", "[null, {ratio: 0.25}] # here", "se: must be one value; lists may stand"),
    ("{frames: 4, size: 32}", "{frames: 4, size: [32, 64]} # here", "clip.size: must be one value; lists may stand"),
    ("- {t: 1, s: 3}", "- {t: [1, 3], s: 3} # here", "kernel.0.t: must be one value; lists may stand for"),
    ("[8, 12, 16]", "[[8, 12], 16] # here", "channels.0: must be one value; lists may stand for"),
    ("nodes: 8", "nodes: [8, 16] # here", "groups.1.attention.1.nodes: must be one value; list whole units"),
    ("after: [1, 3]", "after: [1, 4] # here", "groups.1.attention.1.after: names block 4 of 3"),
    ("after: [1, 3]", "after: [3, 1] # here", "attention.1.after: must name each block once, in order, got [3, 1]"),
    (
        "- none\n",
        "- nonlocal # here\n",
        "attention.0: must be none, glore, non_local, or a unit such as {nodes: 72, states: 144}",
    ),
    (
        "- nodes: 8",
        "- kind: nonlocal # here\n            nodes: 8",
        "attention.1.kind: must be one of glore, non_local",
    ),
    ("states: 16", "state: 16 # here", "attention.1.state: no such field; did you mean states?"),
    (
        "- none\n          - nodes: 8\n            states: 16\n            after: [1, 3]",
        "- glore\n          - nodes: 18 # here\n            states: 36\n            after: [3]",
        "glore 18x36 after 3 is the same network as glore; leave one out",
    ),
    ("depth: 3", "dept: 3 # here", "groups.1.dept: no such field; did you mean depth?"),
    ("streams:\n", "colour: red # here\nstreams:\n", "colour: no such field"),
    ("      - depth: 3\n        stride: 1", "      - stride: 1 # here", "groups.1.depth: Field required"),
    ("conv5: 24", "conv5: # here", "conv5: is empty"),
    ("name: mine", "name: mine\nname: yours # here", "name is given twice, first in line 1; keep one"),
    (
        "        depth: 2".strip(),
        "depth: 2\n        depth: 3 # here",
        "depth is given twice, first in line 7; keep one",
    ),
    ("        stride: 2", "\tstride: 2 # here", "a tab; indent with spaces"),
    ("  - stem:", "  - stem: ] # here", "not YAML"),
    ("conv5: 24", "conv5: !!python/name:os.system # here", "not a plain value (could not determine a constructor"),
    ("name: mine", "name: !!set {mine} # here", "the tag tag:yaml.org,2002:set is not known here; leave it out"),
    ("name: mine", "name: 2024-13-45 # here", "not a plain value (month must be in 1..12"),
    ("name: mine", "name: &a [*a] # here", "an anchor that holds itself; write it out"),
    ("name: mine", "? [a, b] # here\n: mine", "a list or mapping as a key; write `key: value`"),
    ("conv5: 24\n", "conv5: 24\n--- # here\nname: second\n", "not YAML (but found another document)"),
    ("name: mine", "name: mi\x07ne # here", "not YAML (a character that no text has)"),
]


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES)
def test_a_mistake_is_one_line_that_names_the_line_and_the_rule(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    text = changed(old, new)
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(VidnasError) as caught:
        Space.load(file)
    line = next(number for number, line in enumerate(text.split("\n"), start=1) if line.endswith("# here"))
    assert str(caught.value).startswith(f"{file}, line {line}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: space: is empty; its fields are name, clip, streams, fusions, head"),
        ("# nothing yet\n", "line 1: space: is empty"),
        ("- a\n- b\n", "line 1: space: is not a mapping; its fields are name, clip, streams, fusions, head"),
        ("just words\n", "line 1: space: is not a mapping"),
        ("[" * 1500, "not YAML (nested too deeply)"),
        ('{"name": "a",\n "clip": oops oops: }', "line 2: not YAML"),
    ],
)
def test_what_is_no_space_at_all(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(VidnasError) as caught:
        Space.load(file)
    assert str(caught.value).startswith(str(file))
    assert message in str(caught.value)


def test_json_mistakes_have_lines_too(tmp_path: Path) -> None:
    """Tabs are right in JSON, and numbers such as 1e-05 are no strings."""
    text = Space.from_yaml(TEXT).to_json().replace("  ", "\t")
    file = tmp_path / "mine.json"
    file.write_text(text.replace("0.25", "1e-05"))
    assert Space.load(file).streams[0].se.ratio == 1e-05
    file.write_text(text.replace("1.5", '"x"', 1))
    line = next(n for n, line in enumerate(text.split("\n"), start=1) if "1.5" in line)
    with pytest.raises(VidnasError, match=rf"mine.json, line {line}: streams.0.groups.0.expansion.0: .*valid number"):
        Space.load(file)
    file.write_text(text.replace('"name"', '"name": "twice",\n"name"', 1))
    with pytest.raises(VidnasError, match=r"mine.json, line 3: name is given twice, first in line 2"):
        Space.load(file)
    file.write_text("{\n oops}")
    with pytest.raises(VidnasError, match=r"mine.json, line 2: not JSON"):
        Space.load(file)


def test_ranges_are_the_lists_that_they_stand_for() -> None:
    space = Space.from_yaml(changed("[8, 12, 16]", "{from: 8, to: 16, step: 4}"))
    assert space == Space.from_yaml(TEXT)
    tenths = Space.from_yaml(
        TEXT.replace("[8, 12, 16]", "[10, 20]").replace("[1.5, 2.25]", "{from: 0.1, to: 0.7, step: 0.1}")
    )
    # Not 0.1 + 0.1 + 0.1 = 0.30000000000000004.
    assert tenths.streams[0].groups[0].expansion == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    one = Space.from_yaml(TEXT.replace("[8, 12, 16]", "{from: 8, to: 8, step: 4}"))
    assert one.streams[0].groups[0].channels == (8,)


def test_anchors_and_merged_groups_name_the_line_where_the_field_stands() -> None:
    text = """\
name: mine
clip: {frames: 4, size: 32}
streams:
  - stem: {channels: 8}
    groups:
      - &group
        depth: 1
        stride: 2
        channels: [8, 16]
        expansion: 2.0
        kernel: {t: 3, s: 3}
      - <<: *group
        depth: 2
      - <<: *group
        channels: [16, 32]
    conv5: 16
"""
    groups = Space.from_yaml(text).streams[0].groups
    assert [group.depth for group in groups] == [1, 2, 1]
    assert [group.channels for group in groups] == [(8, 16), (8, 16), (16, 32)]
    with pytest.raises(VidnasError, match=r"mine.yaml, line 10: streams.0.groups.0.expansion: "):
        Space.from_yaml(text.replace("2.0", "2.03"), "mine.yaml")
    with pytest.raises(VidnasError, match=r"mine.yaml, line 13: streams.0.groups.1.depth: .*\(got 0\)"):
        Space.from_yaml(text.replace("depth: 2", "depth: 0"), "mine.yaml")
    with pytest.raises(VidnasError, match=r"mine.yaml, line 12: streams.0.groups.1.expansion: "):
        Space.from_yaml(text.replace("<<: *group\n        depth: 2", "{<<: *group, expansion: 2.03}"), "mine.yaml")


def test_files_with_a_byte_order_mark_and_any_name(tmp_path: Path) -> None:
    file = tmp_path / "space"
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert resolve_space(str(file)) == Space.from_yaml(TEXT)


def test_specs_may_be_yaml_too(tmp_path: Path) -> None:
    spec = get_spec("autox3d_l")
    for name in ("mine.yml", "mine.yaml"):
        (tmp_path / name).write_text(spec.to_yaml())
        assert resolve(str(tmp_path / name)) == spec
    with pytest.raises(VidnasError, match=r"space, line 9: .*channels: must be one value; lists make a search space"):
        ArchSpec.from_yaml(TEXT, "space")


def test_the_example_holds_x3d_s() -> None:
    space = resolve_space(str(EXAMPLE))
    assert space.size == 3**4 * 3 * 5**3 * 2
    spec = get_spec("x3d_s").with_clip(space.clip)
    assert space.decode(space.encode(spec)).streams == spec.streams
