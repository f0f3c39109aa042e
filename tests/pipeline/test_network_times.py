"""Whole networks are timed once, kept in a file, and refused where that does not hold."""

import json

import pytest
import torch
from tiny_training import tiny_spec

from vidnas.base.errors import VidnasError
from vidnas.pipeline.network_times import NetworkTimes


def test_each_network_is_timed_once(tmp_path, caplog):
    path = tmp_path / "new" / "ms.json"
    small, large = (tiny_spec(num_classes) for num_classes in (2, 3))
    times = NetworkTimes("cpu", path)
    first = times.ms([small])
    assert times.ms([large, small, small])[1:] == 2 * first
    assert sum("timing networks on cpu" in line for line in caplog.messages) <= 1
    # No two timings have the same digits.
    again = NetworkTimes("cpu", path)
    assert again.ms([small, large]) == times.ms([small, large])
    assert json.loads(path.read_text())["threads"] == torch.get_num_threads()
    assert NetworkTimes("cpu", None).ms([small]) != first


def test_threads_are_those_of_the_start(tmp_path):
    before = torch.get_num_threads()
    times = NetworkTimes("cpu", None)
    try:
        torch.set_num_threads(before + 1)
        with times.own_threads():
            assert torch.get_num_threads() == before
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"machine": "Another 9000"}, "these milliseconds of networks are of machine Another 9000, here it is "),
        ({"threads": 77}, "these milliseconds of networks are of threads 77, here it is "),
        ({"device": "openvino"}, "these milliseconds of networks are of device openvino, here it is cpu; go on there"),
        ({"ms": 3}, "not milliseconds as vidnas writes them"),
    ],
)
def test_a_file_that_does_not_hold_here_is_refused(tmp_path, fields, message):
    path = tmp_path / "ms.json"
    NetworkTimes("cpu", path).ms([tiny_spec()])
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    with pytest.raises(VidnasError) as error:
        NetworkTimes("cpu", path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
