"""Some damaged recipes, sites, sweeps and manifests, and proof that the fuzzer finds what it looks for."""

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import fuzz  # after the path is set
import fuzz_config
from fuzz_cases import case_of
from fuzz_config import Ended, call, examine, judge
from fuzz_subjects import subjects
from fuzz_yaml import CANARY


@pytest.fixture(scope="module", autouse=True)
def imports():
    fuzz_config._import_jobs()  # it takes seconds, which are no part of a case


@pytest.mark.parametrize("family", ["recipe", "site", "sweep", "manifest"])
def test_undamaged_files_are_taken(family, tmp_path):
    for number, subject in enumerate(subjects()[family]):
        folder = tmp_path / str(number)
        for name, content in subject.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        ended = call(subject.command, folder)
        assert (ended.code, ended.err) == (0, ""), subject


def test_damaged_files_are_harmless_or_refused(tmp_path):
    verdicts = [examine(seed, tmp_path) for seed in range(60)]
    assert [(case_of(verdict.seed), verdict) for verdict in verdicts if verdict.is_finding] == []
    counts = Counter(verdict.what for verdict in verdicts)
    assert counts["refused"] >= 30
    assert counts["harmless"] >= 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_thousand_damaged_files_are_harmless_or_refused():
    seeds = range(1000)
    verdicts = list(fuzz.read_apart(seeds, 2, fuzz_config.examine_bounded, fuzz_config.KILL_SECONDS))
    assert sorted(verdict.seed for verdict in verdicts) == list(seeds)
    assert [(case_of(verdict.seed), verdict) for verdict in verdicts if verdict.is_finding] == []
    _, total = fuzz_config.tables(verdicts)
    assert total["refused"] >= 700
    assert total["harmless"] >= 50


def test_a_seed_always_makes_the_same_case():
    for seed in range(20):
        assert case_of(seed) == case_of(seed)
    assert len({(case_of(seed).content, case_of(seed).command) for seed in range(20)}) == 20


def refused(case, err):
    return judge(case, Ended(2, "", err))[0]


def test_bad_endings_are_found():
    case = next(case for case in map(case_of, range(200)) if case.subject.what == "recipe" and len(case.named) == 2)
    (file, *_), (key, *_) = case.named
    good = f"train.py: {file}: {key} is wrong\n  and more of it\n"
    assert judge(case, Ended(2, "", good)) == ("refused", "")
    assert refused(case, f"{good}Traceback (most recent call last):\n") == "traceback"
    assert refused(case, f"{good}another.py: warned\n") == "no single message"
    assert refused(case, "") == "no single message"
    assert refused(case, good.replace("\n", "x" * 20_000, 1)) == "long message"
    assert refused(case, "train.py: something is wrong\n").startswith("unnamed")
    assert refused(case, f"train.py: {file} is wrong\n").startswith("unnamed")
    assert judge(case, Ended(1, "", good))[0] == "exit code"
    assert judge(case, Ended(0, "", "a warning\n"))[0] == "noise"
    assert judge(case, Ended(0, "done\n", ""))[0] == ("accepted" if case.is_wrong else "harmless")


def test_what_is_raised_slow_or_run_is_found(tmp_path, monkeypatch):
    def fail(command, folder):
        raise RecursionError

    monkeypatch.setattr(fuzz_config, "call", fail)
    assert examine(0, tmp_path).what == "traceback"
    monkeypatch.setattr(fuzz_config, "call", lambda command, folder: (folder / CANARY).mkdir())
    monkeypatch.setattr(fuzz_config, "judge", lambda case, ended: ("refused", ""))
    assert examine(0, tmp_path).what == "ran code"
    monkeypatch.setattr(fuzz_config, "call", lambda command, folder: None)
    monkeypatch.setattr(fuzz_config, "MAX_SECONDS", -1.0)
    assert examine(0, tmp_path).what == "hang"
