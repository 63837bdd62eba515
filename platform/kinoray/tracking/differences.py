"""What is not the same between a recorded run and one that is to repeat it, and between the numbers of both."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kinoray.recipe import Recipe
from kinoray.tracking.provenance import Environment
from kinoray.tracking.recorded import RecordedRun
from kinoray.tracking.run import DatasetInfo
from kinoray.tracking.summary import History

COMPUTING_PACKAGES = ("torch", "torchvision", "ray", "av", "numpy")
"""Always looked at first; of the others these as well change what is computed:"""
_ALSO_COMPUTING = re.compile(r"timm|transformers|torchcodec|triton|safetensors|nvidia-.*|cuda-.*|torch.*")
BESIDE_TRAINING = (
    *("cli/", "review/", "predict/", "tracking/", "exported/", "mmaction2/", "sweep/", "recognizer.py"),
    *("cluster/predict/", "cluster/serving/", "cluster/sweep/", "cluster/prepare.py", "cluster/upload.py"),
)
"""Of Kinoray's files, those that no number of a training comes from."""
NOT_RECORDED, NOT_HERE = "not recorded", "–"
NUM_NAMED = 5
NUM_DIGITS_OF_COMMIT = 8


class Difference(NamedTuple):
    """Something that is not as it was.

    Attributes:
        what: in words.
        recorded: of the earlier run.
        here: of the run to come.
        may_change: whether the numbers may come out otherwise for it.
    """

    what: str
    recorded: str
    here: str
    may_change: bool = True


@dataclass(frozen=True)
class Comparison:
    """The metrics of two runs, at the steps that both have.

    Attributes:
        num_metrics: that both have.
        num_points: of these, at steps that both have.
        differing: metric -> largest relative difference, the largest first; empty where all are equal to the bit.
        num_missing: points that only the earlier run has.
        num_new: points that only the later run has.
    """

    num_metrics: int
    num_points: int
    differing: Mapping[str, float]
    num_missing: int
    num_new: int


def compare_histories(recorded: History, new: History) -> Comparison:
    """Look at every point of two runs."""
    both = {key: (dict(recorded[key]), dict(new[key])) for key in recorded if key in new}
    worst = {
        key: max((_apart(a[step], b[step]) for step in a if step in b), default=0.0) for key, (a, b) in both.items()
    }
    num_points = sum(len(a.keys() & b.keys()) for a, b in both.values())
    return Comparison(
        num_metrics=len(both),
        num_points=num_points,
        differing={key: worst[key] for key in sorted(worst, key=lambda key: (-worst[key], key)) if worst[key]},
        num_missing=sum(len(points) for points in recorded.values()) - num_points,
        num_new=sum(len(points) for points in new.values()) - num_points,
    )


def differences(
    recorded: RecordedRun, recipe: Recipe, data: Mapping[str, DatasetInfo], here: Environment
) -> tuple[Difference, ...]:
    """What a repetition does not share with the run, what may change its numbers first.

    Args:
        recorded: the run.
        recipe: that the repetition trains.
        data: split -> what it reads.
        here: where it runs.
    """
    found = [*_recipes(recorded.recipe(), recipe), *_data(recorded.data, data)]
    before = recorded.environment
    if before is None:
        found += [*_without_environment(recorded, here)]
    else:
        found += [*_code(before, here), *_packages(before.versions, here.versions), *_machine(before, here)]
    if before is not None and (later := recorded.resumed_environment) is not None and _is_other(before, later):
        found.append(Difference("the run was continued", "elsewhere, see environment_resumed.json", "in one go"))
    return tuple(sorted(found, key=lambda difference: not difference.may_change))


def _recipes(recorded: Recipe, recipe: Recipe) -> Iterator[Difference]:
    before, now = recorded.flat(), recipe.flat()
    for path in before | now:
        if before.get(path) != now.get(path):
            yield Difference(path, _shown(before.get(path)), _shown(now.get(path)), may_change=path != "name")


def _data(recorded: Mapping[str, DatasetInfo], data: Mapping[str, DatasetInfo]) -> Iterator[Difference]:
    for split, now in data.items():
        before = recorded.get(split)
        if before is None:
            yield Difference(f"{split} videos", NOT_RECORDED, _listed(now))
        elif not same_videos(before, now):
            yield Difference(f"{split} videos", _listed(before), _listed(now))
        elif before.digest != now.digest:
            yield Difference(f"place of the {split} videos", before.source, now.source, may_change=False)


def same_videos(recorded: DatasetInfo, now: DatasetInfo) -> bool:
    """Whether two manifests list the same videos and labels in one order, wherever the files lie."""
    return recorded.digest == now.digest or recorded.listing == now.listing != ""


def _without_environment(recorded: RecordedRun, here: Environment) -> Iterator[Difference]:
    """Of runs before there was such a record: what their tags tell."""
    if recorded.commit != here.commit or here.changed_files:
        yield Difference("code of Kinoray", _commit(recorded.commit, ()), _commit(here.commit, here.changed_files))
    if recorded.num_workers not in (None, here.num_workers):
        yield Difference("workers", str(recorded.num_workers), str(here.num_workers))
    versions = ", ".join(f"{name} {here.versions[name]}" for name in COMPUTING_PACKAGES if name in here.versions)
    yield Difference("packages", NOT_RECORDED, versions)
    yield Difference("machine", recorded.device or NOT_RECORDED, f"{here.system}, {here.cpu}")


def _code(before: Environment, here: Environment) -> Iterator[Difference]:
    commits = (_commit(before.commit, before.changed_files), _commit(here.commit, here.changed_files))
    files = [name for name in sorted({*before.code, *here.code}) if before.code.get(name) != here.code.get(name)]
    training = [name for name in files if not name.startswith(BESIDE_TRAINING)]
    if files:
        # Those that may matter are named, where there are any.
        now = f"{here.kinoray}, {commits[1]}; files that differ: {_some(training or files)}"
        yield Difference("code of Kinoray", f"{before.kinoray}, {commits[0]}", now, may_change=bool(training))
    elif commits[0] != commits[1]:
        yield Difference("commit, with the same code of Kinoray", *commits, may_change=False)
    yours, mine = (sorted(each.user_packages.values()) for each in (before, here))
    if yours != mine:
        yield Difference("packages of yours", _some(before.user_packages), _some(here.user_packages))


def _packages(before: Mapping[str, str], here: Mapping[str, str]) -> Iterator[Difference]:
    names = [name for name in sorted({*before, *here}) if before.get(name) != here.get(name)]
    computing = [name for name in names if name in COMPUTING_PACKAGES or _ALSO_COMPUTING.fullmatch(name)]
    for name in sorted(computing, key=lambda name: (_rank(name), name)):
        yield Difference(name, before.get(name, NOT_HERE), here.get(name, NOT_HERE))
    others = [name for name in names if name not in computing]
    if others:
        were, are = (_some(f"{name} {side.get(name, NOT_HERE)}" for name in others) for side in (before, here))
        yield Difference(f"other packages ({len(others)})", were, are, may_change=False)


def _rank(name: str) -> int:
    return COMPUTING_PACKAGES.index(name) if name in COMPUTING_PACKAGES else len(COMPUTING_PACKAGES)


def _machine(before: Environment, here: Environment) -> Iterator[Difference]:
    on_gpu = before.gpus_per_worker > 0 and here.gpus_per_worker > 0
    minors = [each.python.rpartition(".")[0] for each in (before, here)]
    pairs: list[tuple[str, Any, Any, bool]] = [
        ("Python", before.python, here.python, minors[0] != minors[1]),
        ("system", before.system, here.system, True),
        ("workers", before.num_workers, here.num_workers, True),
        ("device of a worker", _device(before), _device(here), True),
        ("torch threads of a worker", before.threads_per_worker, here.threads_per_worker, not on_gpu),
        ("GPUs", _some(before.gpus), _some(here.gpus), on_gpu),
        ("CPU", before.cpu, here.cpu, not on_gpu),
        ("folder that it starts in", before.folder, here.folder, False),
    ]
    for what, recorded, now, may_change in pairs:
        if recorded != now:
            yield Difference(what, str(recorded), str(now), may_change)


def _is_other(one: Environment, another: Environment) -> bool:
    """Whether anything that may change numbers differs."""
    found = [*_code(one, another), *_packages(one.versions, another.versions), *_machine(one, another)]
    return any(difference.may_change for difference in found)


def _device(environment: Environment) -> str:
    return f"{environment.gpus_per_worker:g} GPU" if environment.gpus_per_worker else "CPU"


def _commit(commit: str, changed: tuple[str, ...]) -> str:
    name = f"commit {commit[:NUM_DIGITS_OF_COMMIT]}" if commit else "no commit known"
    return f"{name} + {len(changed)} changed file{'s' * (len(changed) > 1)}" if changed else name


def _listed(info: DatasetInfo) -> str:
    return f"{info.num_videos:,} of {info.source}, digest {info.digest}"


def _some(words: Iterable[str]) -> str:
    """The first words, and how many there are besides."""
    listed = list(words)
    more = f" and {len(listed) - NUM_NAMED} more" if len(listed) > NUM_NAMED else ""
    return ", ".join(listed[:NUM_NAMED]) + more or "none"


def _shown(value: object) -> str:
    return "–" if value is None else str(value)


def _apart(one: float, another: float) -> float:
    """The relative difference of two numbers; 0 where they are equal to the bit, as two NaN are."""
    if one == another or (math.isnan(one) and math.isnan(another)):
        return 0.0
    if not (math.isfinite(one) and math.isfinite(another)):
        return math.inf
    return abs(one - another) / max(abs(one), abs(another))
