#!/usr/bin/env python3
"""Gives jobs damaged recipes, sites, sweeps, manifests and --set words and looks for what must never happen.

A job may end with 0, where the damage does no harm, or with 2 and one message that names the file, and the key or line
where only one was touched. A finding is all else: a traceback, a crash, a hang, much memory, code that was run. Each is
repeated by ``--case N``.
"""

import argparse
import io
import os
import resource
import runpy
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

from fuzz import Outcome, read_apart
from fuzz_cases import Case, case_of
from fuzz_subjects import subjects
from fuzz_yaml import CANARY
from report import ROOT, print_table, write_json

MAX_SECONDS = 20.0
KILL_SECONDS = 60.0
"""Well above: the first case of a process imports what jobs need, on a machine that may be busy."""
MAX_GROWTH_MIB = 400
MAX_MESSAGE = 10_000
ADDRESS_SPACE = 4 << 30
"""More than a process has when its imports are done: what asks for it fails, and the machine stays."""


@dataclass(frozen=True)
class Verdict(Outcome):
    """What became of a case: "harmless", "refused", or a finding, of which ``detail`` says more."""

    @property
    def is_finding(self) -> bool:
        """Whether this must never happen."""
        return self.what not in {"harmless", "refused"}


@dataclass(frozen=True)
class Ended:
    """How a job ended."""

    code: int | str
    out: str
    err: str


def main() -> None:
    """Try as many cases as the arguments ask for, and exit with 1 where something was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the others follow")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--case", type=int, metavar="N", help="repeat one: its files, its command, what comes of it")
    arguments = parser.parse_args()
    if arguments.case is not None:
        _repeat(arguments.case)
        return
    started = time.perf_counter()
    seeds = range(arguments.seed, arguments.seed + arguments.cases)
    verdicts = []
    for verdict in read_apart(seeds, arguments.processes, examine_bounded, KILL_SECONDS):
        verdicts.append(verdict)
        if verdict.is_finding:
            print(f"--case {verdict.seed}: {case_of(verdict.seed)}: {verdict.what}\n{verdict.detail}\n", flush=True)
        if len(verdicts) % 250 == 0:
            print(f"{len(verdicts)} tried in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    rows, total = tables(verdicts)
    print_table(rows)
    print_table([total | {"seconds": time.perf_counter() - started}])
    write_json("fuzz_config", [*rows, total])
    sys.exit(1 if total["findings"] else 0)


def tables(verdicts: list[Outcome]) -> tuple[list[dict[str, object]], dict[str, object]]:
    """What became of the cases by mutation, and of all of them."""
    by_mutation: dict[str, Counter[str]] = defaultdict(Counter)
    for verdict in verdicts:
        by_mutation[case_of(verdict.seed).mutation]["findings" if verdict.is_finding else verdict.what] += 1
    columns = ("harmless", "refused", "findings")
    rows: list[dict[str, object]] = [
        {"mutation": mutation, "cases": counts.total()} | {name: counts[name] for name in columns}
        for mutation, counts in sorted(by_mutation.items())
    ]
    sums = sum(by_mutation.values(), Counter())
    total: dict[str, object] = {"cases": len(verdicts)} | {name: sums[name] for name in columns}
    slowest = max(verdicts, key=lambda verdict: verdict.seconds)
    return rows, total | {
        "slowest s": slowest.seconds,
        "slowest case": slowest.seed,
        "peak RSS MiB": max(verdict.peak_mib for verdict in verdicts),
    }


def examine(seed: int, folder: Path) -> Verdict:
    """Make the case of a seed in a folder of its own, give it to its job, and judge what comes of it."""
    _import_jobs()
    case = case_of(seed)
    with tempfile.TemporaryDirectory(dir=folder) as own:
        case.write(Path(own))
        before, started = _peak_mib(), time.perf_counter()
        try:
            ended = call(case.command, Path(own))
        except Exception:  # noqa: BLE001  what a user would see as a traceback
            what, detail = "traceback", traceback.format_exc()
        else:
            what, detail = judge(case, ended)
        seconds, grown = time.perf_counter() - started, _peak_mib() - before
        if (Path(own) / CANARY).exists():
            what, detail = "ran code", f"{CANARY} was made"
    if what in {"harmless", "refused"} and seconds > MAX_SECONDS:
        what, detail = "hang", f"{seconds:.0f} s"
    if what in {"harmless", "refused"} and grown > MAX_GROWTH_MIB:
        what, detail = "memory", f"{grown:.0f} MiB more"
    return Verdict(seed, what, detail, seconds, _peak_mib())


def examine_bounded(seed: int, folder: Path) -> Verdict:
    """The same in a process whose memory is limited."""
    _import_jobs()
    with Path("/proc/self/statm").open() as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE, resource.RLIM_INFINITY))
    return examine(seed, folder)


def judge(case: Case, ended: Ended) -> tuple[str, str]:
    """Whether a job ended as it should have, in a word, and what is wrong if it did not."""
    told = f"exit code {ended.code}\n{ended.err[:3000]}"
    if "Traceback" in ended.err:
        return "traceback", told
    if ended.code == 0 and ended.err:
        return "noise", told
    if ended.code == 0:
        return ("accepted", f"it should have been refused\n{ended.out[:500]}") if case.is_wrong else ("harmless", "")
    wrong = _wrong(case, ended.err) if ended.code == 2 else "exit code"
    return (wrong, told) if wrong else ("refused", "")


def _wrong(case: Case, err: str) -> str:
    """What is wrong with a message, in a word; empty for a good one."""
    name, lines = f"{case.command[0]}: ", err.splitlines()
    if lines and lines[0].startswith("usage: "):  # argparse's own
        lines = [line for line in lines if line.startswith(name)]
    if not (lines and lines[0].startswith(name) and all(line.startswith("  ") for line in lines[1:])):
        return "no single message"
    if len(err) > MAX_MESSAGE:
        return "long message"
    missed = next((words for words in case.named if not any(word in err for word in words)), None)
    return f"unnamed: none of {missed}" if missed is not None else ""


def call(command: tuple[str, ...], folder: Path) -> Ended:
    """Run a job in this process as a user would run it in a folder; what it raises is raised."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")  # as Python's own streams
    code: int | str = 0
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}
    with (
        patch.dict(os.environ, environment, clear=True),
        patch.object(sys, "path", sys.path.copy()),
        patch.object(sys, "argv", [str(ROOT / "jobs" / command[0]), *command[1:]]),
        chdir(folder),
        redirect_stdout(out),
        redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("always")
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
        out.flush()
    err.flush()
    return Ended(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


@cache
def _import_jobs() -> None:
    """Imports take seconds, once; they are no part of a case."""
    with tempfile.TemporaryDirectory() as folder:
        for family, each in subjects().items():
            if family != "config":
                Case(0, each[0], "none", each[0].content, each[0].command).write(Path(folder))
                call(each[0].command, Path(folder))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _repeat(seed: int) -> None:
    case = case_of(seed)
    folder = ROOT / "build" / "fuzz-config" / str(seed)
    case.write(folder)
    with tempfile.TemporaryDirectory() as scratch:
        verdict = examine(seed, Path(scratch))
    print(f"{case}\ncd {folder} && python {ROOT / 'jobs'}/{' '.join(map(repr, case.command))}")
    print(f"{verdict.what} after {verdict.seconds:.2f} s\n{verdict.detail}")


if __name__ == "__main__":
    main()
