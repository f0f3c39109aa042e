"""The door: exit codes, one-line errors, suggestions, what is imported."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from vidnas.cli.config_parser import make_config_parser
from vidnas.cli.main import main
from vidnas.cli.parsing import UsageError, make_parser

FULL = Path("/dev/full")
needs_full_device = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")


def python(code: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **options)


def vidnas(*argv: str, **options) -> subprocess.CompletedProcess:
    options = {"stdout": subprocess.PIPE, **options}
    command = [sys.executable, "-m", "vidnas", *argv]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, **options)


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["lst"], 2, "vidnas has no command 'lst'; did you mean list?"),
        (["qqqq"], 2, "vidnas has no command 'qqqq'; `vidnas --help` lists them"),
        (["--versio"], 2, "vidnas has no option --versio; did you mean --version?"),
        (["list", "--jso"], 2, "vidnas list has no option --jso; did you mean --json?"),
        (["info", "--hed", "all"], 2, "vidnas info has no option --hed; did you mean --head?"),
        (["info"], 2, "vidnas info needs NAME|FILE; see `vidnas info --help`"),
        (["info", "x3d_s", "x3d_m"], 2, "vidnas info does not know what to do with 'x3d_m'"),
        (["info", "x3d_s", "--head", "al"], 2, "did you mean all?"),
        (["info", "x3d_ss"], 1, "no network called 'x3d_ss'; did you mean x3d_s?"),
        (["info", "none.json"], 1, "none.json: cannot read the architecture"),
        (["info", "x3d_s", "--clip", "13"], 1, "clip '13': write frames x size, as in 13x160"),
        (["list", "zzz"], 1, "no network matches 'zzz'"),
        (["run", "--data", "x", "--out", "y", "--target-macs", "-5M"], 1, "--target-macs '-5M': write multiply-adds"),
        (["run", "--data", "x", "--out", "y", "--target-ms", "-5"], 2, "--target-ms -5: give milliseconds above 0"),
        (["run", "--data", "x", "--target-macs", "50", "M"], 2, "an amount has no blank in it, as 50M"),
        (["run", "--epochs", "3"], 2, "no option --epochs; did you mean --search.epochs or --train.epochs?"),
        (["run", "--epoch", "3"], 2, "no option --epoch; did you mean --search.epochs or --train.epochs?"),
        (["run", "--target", "5M"], 2, "no option --target; did you mean --target-macs or --target-params or --target"),
        (["test", "x", "--data", "y", "--top", "5"], 2, "no option --top; `vidnas test --help-all` lists the options"),
        (["search", "--xyz", "1"], 2, "no option --xyz; `vidnas search --help-all` lists the options"),
        (["help", "runn"], 2, "vidnas has no command 'runn'; did you mean run?"),
        (["run", "--sampling", "unifrom"], 2, "--sampling unifrom: give one of stride, uniform; did you mean uniform?"),
        (["data", "check", "x", "--workers", "y"], 2, "a whole number above 0"),
    ],
)
def test_bad_input_is_one_line_and_a_code(argv, code, message, capsys):
    assert main(argv) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("vidnas: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_help_and_version(capsys):
    assert main([]) == main(["--help"]) == main(["list", "--help"]) == 0
    assert "usage: vidnas list" in capsys.readouterr().out
    for words, usage in ((["list"], "usage: vidnas list"), (["data", "check"], "usage: vidnas data check")):
        assert main(["help", *words]) == 0
        assert usage in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("vidnas ")


def test_every_verb_of_the_help_has_a_run(capsys):
    main(["--help"])
    verbs = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert {"list", "info", "plot"} <= set(verbs)
    for verb in verbs:
        assert main([verb, "--help"]) == 0, verb


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("vidnas.cli.list.run", lambda argv: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        main(["list"])


def test_a_missing_file_deep_inside_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("vidnas.cli.list.run", lambda argv: (tmp_path / "gone.txt").stat())
    assert main(["list"]) == 1
    assert f"{tmp_path}/gone.txt: no such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("signum", "code", "message"),
    [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "stopped by SIGTERM"), ("SIGHUP", 129, "stopped by SIGHUP")],
)
def test_a_signal_is_one_line_and_a_code(signum, code, message):
    result = python(
        "import os, signal, sys, time\n"
        "import vidnas.cli.list as verb\n"
        "from vidnas.cli.main import main\n"
        f"verb.run = lambda argv: (os.kill(os.getpid(), signal.{signum}), time.sleep(30))\n"
        "sys.exit(main(['list']))"
    )
    assert (result.returncode, result.stderr) == (code, f"vidnas: error: {message}\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "interrupted; the same command with --resume goes on"),
        (["--resume"], "interrupted; the same command goes on"),
        (["--dry-run"], "interrupted"),
    ],
)
def test_a_stopped_command_says_how_to_go_on(options, message, monkeypatch, capsys):
    monkeypatch.setattr("vidnas.cli.run.run", lambda argv: signal.raise_signal(signal.SIGINT))
    assert main(["run", *options]) == 130
    assert capsys.readouterr().err == f"vidnas: error: {message}\n"


def test_a_terminal_that_goes_away_stops_what_it_started(tmp_path):
    """Its output can no longer be written, yet what is left to do is done."""
    code = (
        "import fcntl, os, sys, termios, time\n"
        "import vidnas.cli.list as verb\n"
        "from pathlib import Path\n"
        "from vidnas.cli.main import main\n"
        "from vidnas.base.interrupt import StopSignals\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "def work(argv):\n"
        "    with StopSignals() as signals:\n"
        "        print('ready', flush=True)\n"
        "        while signals.received is None:\n"
        "            time.sleep(0.01)\n"
        "        print('not heard any more', flush=True)\n"
        "        Path('saved').touch()\n"
        "verb.run = work\n"
        "sys.exit(main(['list']))"
    )
    user, terminal = os.openpty()
    # Not as under nohup, where tests may run and nothing is to stop.
    heard = partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(
        command,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        cwd=tmp_path,
        preexec_fn=heard,
    )
    try:
        os.close(terminal)
        assert os.read(user, 100).startswith(b"ready")
        os.close(user)
        assert process.wait(timeout=60) == 129
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "saved").exists()


@pytest.mark.parametrize("argv", [["list"], ["--help"], ["list", "--help"]])
def test_closed_outputs_take_nothing_and_break_nothing(argv):
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "vidnas", *argv], stderr=subprocess.PIPE, check=False
    )
    assert (closed.returncode, closed.stderr) == (0, b"")


def test_a_reader_that_goes_away_is_no_error():
    # The JSON of the largest network overfills a pipe (64 KiB), so that the writer must notice.
    command = [sys.executable, "-m", "vidnas", "info", "x3d_xxl", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"{\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 128 + signal.SIGPIPE


@needs_full_device
def test_full_disk_names_the_path_and_the_mend(tmp_path):
    for suffix in ("svg", "png"):
        (tmp_path / f"x.{suffix}").symlink_to(FULL)
        result = vidnas("plot", "x3d_s", "-o", str(tmp_path / f"x.{suffix}"))
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1
        assert f"{tmp_path}/x.{suffix}: cannot be written (no space left on device); make room" in result.stderr


@needs_full_device
def test_full_disk_behind_stdout():
    with FULL.open("w", encoding="utf-8") as full:
        result = vidnas("info", "x3d_xxl", stdout=full)
    assert result.returncode == 1
    assert result.stderr == (
        "vidnas: error: output: no space left on the disk; free some, then give the same command again\n"
    )


@needs_full_device
def test_full_disk_wrapped_by_another_writer(monkeypatch, capsys, tmp_path):
    def verb(argv):
        try:
            with open(FULL, "wb", buffering=0) as file:
                file.write(b"x")
        except OSError as error:
            raise RuntimeError("the writer failed") from error

    monkeypatch.setattr("vidnas.cli.list.run", verb)
    assert main(["list"]) == 1
    assert "no space left on the disk" in capsys.readouterr().err


class Deadly(Dataset):
    """Ends the process that asks for an item, as the system does where memory runs out."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_killed_data_loader_worker_is_one_line(method, monkeypatch, capsys):
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.1,))  # a look every 5 s
    monkeypatch.setattr(
        "vidnas.cli.list.run", lambda argv: list(DataLoader(Deadly(), num_workers=1, multiprocessing_context=method))
    )
    assert main(["list"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("vidnas: error: a process that reads videos was ended (")
    assert "memory" in error
    assert "--clips.workers" in error


def test_light_commands_load_no_framework(tmp_path):
    result = python(
        "import sys\n"
        "import vidnas\n"
        "from vidnas.cli.main import main\n"
        "assert main(['list']) == 0 and main(['info', 'autox3d_s', '--json']) == 0\n"
        "assert main(['plot', 'x3d_s', '-o', 'x.svg']) == 0\n"
        "assert vidnas.get_spec('x3d_s').name == 'x3d_s' and 'x3d_s' in vidnas.list_models()\n"
        "heavy = {'torch', 'torchvision', 'lightning', 'numpy', 'matplotlib', 'jsonargparse', 'av'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)",
        cwd=tmp_path,
    )
    assert result.stderr == "[]\n"


def test_package_attributes():
    import vidnas

    assert vidnas.ArchSpec.__name__ == "ArchSpec"
    assert set(vidnas.__all__) <= set(dir(vidnas))
    assert callable(vidnas.create_model)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vidnas.nothing


def test_an_option_that_another_one_starts_with_is_refused():
    parser = make_parser("x", "X.")
    parser.add_argument("--views")
    with pytest.raises(UsageError, match="vidnas x has no option --view; did you mean --views"):
        parser.parse_args(["--view", "3"])
    assert parser.parse_args(["--views=--odd"]).views == "--odd"


@dataclass
class Optim:
    learning_rate: float = 0.1
    epochs: int = 3
    name: Literal["sgd", "adamw"] = "sgd"
    clip_norm: float | None = None


def config_parser():
    parser = make_config_parser("train", "Train.")
    parser.add_argument("--arch", type=str, required=True)
    parser.add_argument("--views", type=int, default=1)
    parser.add_class_arguments(Optim, "optim")
    return parser


@pytest.mark.parametrize(
    ("argv", "recipe", "message"),
    [
        ([], "arch: x\noptim:\n  learnin_rate: 3\n", "line 3: optim.learnin_rate: no such setting; did you mean"),
        ([], "# new\narhc: x\n", "RECIPE, line 2: arhc: no such setting; did you mean arch?"),
        ([], "arch: x\nzzzzzz: x\n", "RECIPE, line 2: zzzzzz: no such setting; `vidnas train --help-all` lists"),
        ([], "arch: x\noptim:\n  epochs: many\n", "RECIPE, line 3: optim.epochs many: give a whole number"),
        ([], "arch: x\noptim:\n  name: sdg\n", "line 3: optim.name sdg: give one of sgd, adamw; did you mean sgd?"),
        ([], "arch: x\noptim:\n  clip_norm: a\n", "line 3: optim.clip_norm a: give a number or null"),
        ([], "arch: x\n b: [\n", "RECIPE, line 2: not YAML"),
        ([], "- 1\n", "RECIPE: a recipe is a list of `key: value` lines"),
        ([], "views: 3\n", "vidnas train needs --arch"),
        (["--arhc", "x"], "views: 3\n", "vidnas train has no option --arhc; did you mean --arch?"),
        (["--arch", "x", "--optim.epoch", "3"], "views: 3\n", "no option --optim.epoch; did you mean --optim.epochs?"),
        (["--arch", "x", "--views", "z"], "arch: y\n", "vidnas train --views z: give a whole number"),
        (["--arch", "x", "--views", ""], "arch: y\n", "vidnas train --views '': give a whole number"),
        (["--arch", "x", "--views"], "arch: y\n", "vidnas train --views: a value is missing; give NUMBER"),
        (["--arch", "x", "--views", "-3x"], "arch: y\n", "vidnas train --views -3x: give a whole number"),
        (["--optim.clip-norm", "a"], "arch: y\n", "vidnas train --optim.clip-norm a: give a number or null"),
        (["--views", "3", "M"], "arch: y\n", "does not know what to do with 'M'; an amount has no blank in it, as 50M"),
        (["--arch", "x", "--config"], "views: 3\n", "vidnas train --config: name a recipe"),
        (["--config", "smal"], "views: 3\n", "smal: no such file, and no recipe of that name; did you mean small?"),
        (["--config", "zz"], "views: 3\n", "the package brings auto_tsnet_kinetics, auto_tsnet_search, autox3d"),
        (["--config", "."], "views: 3\n", "--config .: is a folder, and no recipe"),
        (["--config", "none.yaml", "--arch", "x"], "views: 3\n", "vidnas train --config none.yaml: no such file"),
    ],
)  # fmt: skip
def test_bad_recipes_name_file_line_and_key(argv, recipe, message, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe)
    with pytest.raises(UsageError) as caught:
        config_parser().parse_args(["--config", str(path), *argv])
    assert message.replace("RECIPE", str(path)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_win_over_the_recipe_wherever_they_stand(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("arch: a\nviews: 3\noptim:\n  epochs: 7\n")
    for argv in (["--views", "9", "--config", str(path)], [f"--config={path}", "--views=9"]):
        options = config_parser().parse_args(argv)
        assert (options.arch, options.views, options.optim.epochs) == ("a", 9, 7)


def test_hyphens_and_underscores_name_the_same_option():
    options = config_parser().parse_args(["--arch", "a", "--optim.learning-rate", "0.5"])
    assert options.optim.learning_rate == 0.5


def test_a_recipe_cannot_name_code_to_run(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("arch: a\noptim:\n  class_path: subprocess.Popen\n  init_args: {args: ls}\n")
    with pytest.raises(UsageError, match=r"subprocess\.Popen"):
        config_parser().parse_args(["--config", str(path)])


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_idle_threads_are_calmed_unless_the_user_says_otherwise(given, expected):
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")} | given
    code = "import os; from vidnas.cli.main import main; main(['--version']); print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == expected
