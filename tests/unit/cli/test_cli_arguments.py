"""How a job ends, and which ``--set`` is whose."""

import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from kinoray.cli.arguments import job_parser, load_site, recipe_overrides, run
from kinoray.errors import ConfigError, DivergenceError, KinorayError, ResourceError

Job = Callable[[Exception | KeyboardInterrupt | None, list[str]], tuple[int, str, str]]


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Job:
    """Run a job that ends in an error (or none): exit code, stdout, stderr."""

    def job(error: Exception | KeyboardInterrupt | None, arguments: list[str]) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])

        def main(parsed: Namespace) -> None:
            print("working on", parsed.set)
            if error is not None:
                raise error

        code: object = 0
        try:
            run(main, job_parser("Train something."))
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        assert isinstance(code, int)
        return code, said.out, said.err

    return job


def at_work(error: KinorayError) -> KinorayError:
    error.at_work = True
    return error


def test_it_goes_well(job: Job) -> None:
    assert job(None, ["--set", "a=1", "--set", "b=2"]) == (0, "working on ['a=1', 'b=2']\n", "")


@pytest.mark.parametrize("kind", [ConfigError, ResourceError])
def test_wrong_input_is_2(job: Job, kind: type[KinorayError]) -> None:
    code, out, err = job(kind("model.depth: got 51; one of 50, 101"), [])
    assert (code, err) == (2, "train.py: model.depth: got 51; one of 50, 101\n")
    assert out == "working on []\n"


def test_failure_at_work_is_1(job: Job) -> None:
    code, _, err = job(at_work(DivergenceError("training diverged")), [])
    assert (code, err) == (1, "train.py: training diverged\n")


SECRET = "s3://KEY:c4nary/x@bucket/a.csv?secret_key=c4nary"


def test_a_message_holds_no_secret(job: Job) -> None:
    code, _, err = job(ConfigError(f"model.depht: no such field  [--set model.depht={SECRET}]"), [])
    shown = "s3://***@bucket/a.csv?secret_key=***"
    assert (code, err) == (2, f"train.py: model.depht: no such field  [--set model.depht={shown}\n")


def test_nor_does_a_traceback(job: Job) -> None:
    problem = RuntimeError(f"{SECRET} is strange")
    problem.__cause__ = ValueError(f"cannot parse {SECRET}")
    code, _, err = job(problem, [])
    assert code == 1
    assert "c4nary" not in err
    assert "Traceback (most recent call last):\n" in err
    assert err.endswith("RuntimeError: s3://***@bucket/a.csv?secret_key=*** is strange\n")
    assert "ValueError: cannot parse s3://***@bucket" in err


def test_an_interrupt_is_130(job: Job) -> None:
    code, _, err = job(KeyboardInterrupt(), [])
    assert (code, err) == (130, "\ntrain.py: interrupted\n")


def test_an_unknown_argument_is_2(job: Job) -> None:
    code, out, err = job(None, ["--unknown"])
    assert (code, out) == (2, "")
    assert "unrecognized arguments: --unknown" in err


def test_help_tells_every_argument(job: Job) -> None:
    code, out, _ = job(None, ["--help"])
    assert code == 0
    assert all(word in out for word in ("Train something.", "--site", "--set", "--dry-run", "optimizer.lr=0.01"))


@pytest.mark.parametrize(
    ("error", "code"),
    [("ConfigError('wrong')", 2), ("DataError('wrong')", 2), ("KeyboardInterrupt()", 130), ("ZeroDivisionError()", 1)],
)
def test_a_real_process_ends_so(error: str, code: int) -> None:
    """Only what is our own fault shows a traceback."""
    lines = [
        "import sys; sys.path.insert(0, sys.argv.pop(1))",
        "from kinoray.errors import *",
        "from kinoray.cli.arguments import job_parser, run",
        f"def main(arguments): print('begun'); raise {error}",
        "run(main, job_parser(''))",
    ]
    platform = str(Path(__file__).parents[3] / "platform")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), platform], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code
    assert done.stdout == "begun\n"
    assert ("Traceback" in done.stderr) == (error == "ZeroDivisionError()")


def test_settings_are_dealt_to_recipe_and_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    given = ["optimizer.lr=0.1", "site.workers=2", "name=site.x", "site.storage=s3://a/b=c"]
    assert recipe_overrides(given) == ["optimizer.lr=0.1", "name=site.x"]
    assert recipe_overrides([*given, "sweep.trials=3"]) == ["optimizer.lr=0.1", "name=site.x", "sweep.trials=3"]
    assert recipe_overrides([*given, "sweep.trials=3"], "sweep.") == ["optimizer.lr=0.1", "name=site.x"]
    settings = [word for text in given for word in ("--set", text)]
    arguments = job_parser("").parse_args([*settings, "--set", "site.packages=[/code/mine]"])
    site = load_site(arguments)
    assert (site.workers, site.storage) == (2, "s3://a/b=c")
    assert sys.path[-1] == "/code", "what the site names can be imported here, too"


def test_defaults() -> None:
    parser = job_parser("")
    assert isinstance(parser, ArgumentParser)
    first, second = parser.parse_args([]), parser.parse_args(["--set", "a=1"])
    assert (first.site, first.set, first.dry_run) == (None, [], False)
    assert second.set == ["a=1"]
    assert parser.parse_args([]).set == []


def test_a_message_is_fit_for_a_terminal(job: Job) -> None:
    code, _, err = job(ConfigError(f"x.yaml: got '\x1b[2J\u202e{'y' * 100_000}'  [x.yaml:3]\n  more: é 🎥"), [])
    first, second = err.splitlines()
    assert code == 2
    assert first.startswith(r"train.py: x.yaml: got '\x1b[2J\u202eyyy")
    assert first.endswith("yyy'  [x.yaml:3]")
    assert len(first) < 1_100
    assert second == "  more: é 🎥"
