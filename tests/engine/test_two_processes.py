"""Two processes under torchrun: the same training as one, and a test that is shared."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

# Norms keep their statistics: otherwise each process normalises by its own half of the batch.
SCRIPT = """
import sys
from pathlib import Path

from tiny_training import tiny_config, tiny_data, tiny_spec
from torch.nn.modules.batchnorm import _BatchNorm

from vidnas.data.augment import Views
from vidnas.data.formats import load_dataset
from vidnas.engine import test as testing
from vidnas.engine.train import fresh_network, train
from vidnas.engine.processes import is_first_process

root, out = Path(sys.argv[1]), Path(sys.argv[2])
lists, data = load_dataset(root), tiny_data(root)
network = fresh_network(tiny_spec(dropout=0.0), 0)
for norm in (module for module in network.modules() if isinstance(module, _BatchNorm)):
    norm.eval()
    norm.train = lambda mode=True, norm=norm: norm
config = tiny_config(optimizer="sgd", lr=0.1, ema=0.5, val_fraction=0.2)
result = train(network, lists.train, config, data, out)
outcome = testing.test(result.network, lists.test, data, Views(1, 3), batch_size=9)
if is_first_process():
    outcome.save(result.folder.test)
"""


def run(script: Path, data: Path, out: Path, processes: int) -> str:
    paths = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(data), str(out)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_two_processes_train_and_test_as_one(synthetic_data, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run(script, synthetic_data, tmp_path / "one", 1)
    said = run(script, synthetic_data, tmp_path / "two", 2)
    assert said.count("6 steps, 4 per epoch") == 1  # only the first process talks
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        # Gradients are averaged over processes in another order; fp32, six steps.
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
    first, second = ((tmp_path / name / "test" / "scores.csv").read_text().splitlines() for name in ("one", "two"))
    assert len(first) == len(second) == 25
    for a, b in zip(first[1:], second[1:], strict=True):
        assert a.split(",")[:2] == b.split(",")[:2]
        scores = [[float(cell) for cell in line.split(",")[3:]] for line in (a, b)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)  # weights differ as above
