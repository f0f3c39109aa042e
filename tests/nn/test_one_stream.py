"""Weights of one stream in a network of two: what is taken, what is said, what is refused."""

import logging
from pathlib import Path

import pytest
import torch
from test_build import clip_for, randomised
from two_streams import small_two_streams

from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.nn.build import build
from vidnas.nn.create import create_model
from vidnas.nn.official_keys import to_pytorchvideo
from vidnas.nn.weights import build_with_weights, load_model, load_weights, save_model

CLASSES = ("a", "b", "c", "d", "e")


def one_stream_file(spec: ArchSpec, folder: Path) -> Path:
    network = randomised(build(spec.alone(0)))
    save_model(folder / "one", network, classes=CLASSES)
    return folder / "one.safetensors"


def test_what_was_taken_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = small_two_streams()
    file = one_stream_file(spec, tmp_path)
    network = create_model(spec, weights=file)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    own = network.state_dict()
    dense = sum(name.startswith("streams.1.") for name in own)
    fusions = sum(name.startswith("fusions.") for name in own)
    taken = len(own) - dense - fusions - 6
    assert record.message.splitlines()[1:] == [
        f"  loaded    {taken} tensors",
        # Alone, this block has as many channels behind it as before it and needs no projection.
        "  replaced  streams.0.groups.1.block1.shortcut (6 tensors): not in the file, which has one stream",
        f"  replaced  streams.1 ({dense} tensors): not in the file, which has one stream",
        f"  replaced  fusions ({fusions} tensors): not in the file, which has one stream",
        "  note      streams.0.groups.1.block1.expand.weight: 12 of 20 input channels are the file's, the others start "
        "at zero",
        "  note      streams.0.groups.2.block1.expand.weight: 12 of 32 input channels are the file's, the others start "
        "at zero",
        "  note      streams.0.groups.2.block1.shortcut.weight: 12 of 32 input channels are the file's, the others "
        "start at zero",
        "  note      streams.0.groups.3.block1.expand.weight: 16 of 22 input channels are the file's, the others start "
        "at zero",
        "  note      streams.0.groups.3.block1.shortcut.weight: 16 of 22 input channels are the file's, the others "
        "start at zero",
        "  note      head.fc1.weight: 23 of 36 input channels are the file's, the others start at zero",
        "  note      fusions.3: adds to stream 0, so the network does not compute at first what the file's did",
    ]
    given = load_model(file)[0].state_dict()
    for name, value in given.items():
        mine = own[name]
        assert torch.equal(mine if mine.shape == value.shape else mine[:, : value.shape[1]], value), name


@pytest.mark.parametrize("training", [True, False])
def test_it_first_computes_what_the_one_stream_did(tmp_path: Path, training: bool) -> None:
    """With the statistics of a batch as with those of the file."""
    spec = small_two_streams()
    # Without the one whose map is added. The first enters a block that passes its own channels on.
    spec = spec.model_copy(update={"fusions": spec.fusions[:3], "head": spec.head.model_copy(update={"dropout": 0.0})})
    file = one_stream_file(spec, tmp_path)
    network, report = build_with_weights(spec, file)
    assert not report.is_plain
    clips = clip_for(spec)
    expected = load_model(file)[0].train(training)(clips)
    torch.testing.assert_close(network.train(training)(clips), expected)
    assert expected.std() > 1e-3


def test_official_weights_become_the_sparse_stream(tmp_path: Path) -> None:
    """X3D-XS beside a narrow dense stream, its clip the sparse frames."""
    x3d, dense = get_spec("x3d_xs"), get_spec("x3d_xs").streams[0]
    groups = tuple(group.model_copy(update={"channels": 8}) for group in dense.groups)
    dense = dense.model_copy(update={"groups": groups, "conv5": 18})
    spec = ArchSpec.from_data(
        {
            **x3d.model_dump(),
            "name": "x3d_beside",
            "clip": {"frames": 16, "size": 64},
            "streams": [x3d.streams[0].model_copy(update={"every": 4}).model_dump(), dense.model_dump()],
            "fusions": [{"source": 1, "target": 0, "group": 1, "kind": "time_strided_convolution"}],
        }
    )
    source = randomised(build(x3d))
    torch.save({"model_state": to_pytorchvideo(source.state_dict())}, tmp_path / "x3d.pyth")
    network, report = build_with_weights(spec, tmp_path / "x3d.pyth")
    assert report.dialect == "pytorchvideo"
    assert len(report.loaded) == len(source.state_dict())
    assert [name.partition(" (")[0] for name, _ in report.replaced] == ["streams.1", "fusions"]
    assert [note.partition(":")[0] for note in report.notes] == [
        "streams.0.groups.2.block1.expand.weight",
        "streams.0.groups.2.block1.shortcut.weight",
        "head.fc1.weight",
    ]
    assert network.spec.streams == spec.streams


def test_one_stream_of_another_network_is_refused(tmp_path: Path) -> None:
    file = one_stream_file(small_two_streams(), tmp_path)
    spec = get_spec("manual_tsnet_70").with_clip(small_two_streams().clip)
    with pytest.raises(
        VidnasError, match=r"weights of another network than manual_tsnet_70: streams\.0\.stem\.spatial"
    ):
        load_weights(build(spec), file)


def test_two_streams_do_not_go_into_one(tmp_path: Path) -> None:
    spec = small_two_streams()
    save_model(tmp_path / "two", build(spec), classes=CLASSES)
    with pytest.raises(VidnasError, match=r"weights of another network than small_two_streams, stream 0 alone"):
        load_weights(build(spec.alone(0)), tmp_path / "two.safetensors")


def test_a_file_of_two_streams_is_plain(tmp_path: Path) -> None:
    """Also where their projections differ in their norms."""
    spec = small_two_streams()
    dense = spec.streams[1].model_copy(update={"projection_norm": "on_channel_change"})
    groups = (dense.groups[0].model_copy(update={"channels": 6}), *dense.groups[1:])
    spec = spec.model_copy(
        update={
            "streams": (spec.streams[0], dense.model_copy(update={"groups": groups})),
            "fusions": spec.fusions[1:],
        }
    )
    network = randomised(build(spec))
    save_model(tmp_path, network, classes=CLASSES)
    other, report = build_with_weights(spec, tmp_path)
    assert report.is_plain
    clips = clip_for(spec)
    assert torch.equal(other.eval()(clips), network.eval()(clips))
    assert torch.equal(load_model(tmp_path)[0](clips), network(clips))
