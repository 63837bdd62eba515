"""What fuzz_config.py tries: a damaged file or odd words of --set, by seed; each knows what a refusal has to name."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fuzz_bytes import BYTES, LINES, Rng, one
from fuzz_subjects import Subject, subjects
from fuzz_yaml import BROKEN, NUMBERS, OTHERS, TAGS, TEXTS, YAML


@dataclass(frozen=True, repr=False)
class Case:
    """Something damaged, and the command that reads it."""

    seed: int
    subject: Subject
    mutation: str
    content: bytes
    command: tuple[str, ...]
    named: tuple[tuple[str, ...], ...] = ()
    is_wrong: bool = False
    beside: tuple[tuple[str, bytes], ...] = ()

    def __repr__(self) -> str:
        return f"case {self.seed}, {self.mutation} of {self.subject.what} {self.subject.file}"

    def write(self, folder: Path) -> None:
        """Write what the command reads."""
        own = Path(self.subject.file)
        beside = {str(own.parent / name): content for name, content in self.beside}
        for name, content in {**self.subject.files, **beside, self.subject.file: self.content}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def case_of(seed: int) -> Case:
    """The case of a seed, always the same."""
    rng = np.random.default_rng(seed)
    family = one(rng, FAMILIES)
    subject = one(rng, subjects()[family])
    if family == "words":
        mutation, words, named = one(rng, (odd_words, odd_paths, several_words))(rng)
        command = (*subject.command, *(part for word in words for part in ("--set", word)))
        return Case(seed, subject, f"--set: {mutation}", subject.content, command, (named,))
    kinds = [("bytes", BYTES), *([("yaml", YAML)] * 3 if subject.is_yaml else [("lines", LINES)] * 2)]
    damage = None
    while damage is None:
        sort, mutations = one(rng, kinds)
        mutation = one(rng, mutations)
        damage = mutation(subject.content, rng)
    name = f"{sort}: {mutation.__name__.replace('_', ' ')}"
    # What is missing in a base is missed in the file that is based on it, and a place that is none by its setting.
    files = [subject.file, *(file for file in subject.files if file.startswith("configs/") and subject.is_yaml)]
    files += (
        ["data.classes", "data.train.source", "data.val.source", "data.max_bad_fraction"] if subject.is_yaml else []
    )
    if not subject.is_yaml:  # official files lie in a folder, which is named; a list too short for a batch is not
        files += ["lists train", "data.train.batch_size"]
    named = (tuple(Path(file).name for file in (*files, *dict(damage.beside))), *damage.named)
    return Case(seed, subject, name, damage.content, subject.command, named, damage.is_wrong, damage.beside)


FAMILIES = (*("recipe",) * 7, *("config",) * 4, *("site",) * 2, *("sweep",) * 3, *("manifest",) * 8, *("words",) * 4)


# ---- words of --set, which a shell gives without NUL

PATHS = (
    *(
        "model.num_classes",
        "model.kind",
        "model",
        "data.train",
        "data.train.crop",
        "data.train.batch_size",
        "data.classes",
    ),
    *(
        "data.train.source",
        "data.train.source.path",
        "data.val.source",
        "data.train.sampling.clip_len",
        "data.flip_labels",
    ),
    *(
        "data.train.sampling",
        "data.train.box.scale",
        "data.train.box.scale.0",
        "data.train.augment",
        "data.val",
        "seed",
    ),
    *(
        "optimizer",
        "optimizer.lr",
        "optimizer.kind",
        "schedule",
        "schedule.0",
        "schedule.0.end",
        "schedule.1.kind",
        "loss",
    ),
    *(
        "training.epochs",
        "training.precision",
        "training.freeze",
        "training.freeze.0",
        "training.init_from",
        "callbacks",
    ),
    *(
        "training.keep_best",
        "evaluation.monitor",
        "evaluation.metrics",
        "name",
        "data.max_bad_fraction",
        "training.mix",
    ),
    *("site.workers", "site.local_cpus", "site.decode_cpus", "site.storage", "site.packages", "site.cpus_per_worker"),
    *("site.gpus_per_worker", "site.decode_threads", "site.experiment", "site.max_failures"),
)
ODD_PATHS = (
    *(
        "",
        ".",
        "..",
        "a..b",
        ".model",
        "model.",
        " ",
        "=",
        "model =",
        "optimizer.lr[0]",
        "schedule.99.end",
        "schedule.-1.end",
    ),
    *(
        "schedule.x",
        "schedule.0",
        "schedule.²",
        "schedule.٣",
        "data.train.crop.x",
        "model.kind.kind",
        "site",
        "site.",
        "base",
    ),
    *(
        "site.nothing",
        "sweep.trials",
        "optimizer.momentun",
        "MODEL.KIND",
        "größe",
        "\udcff",
        "a" * 5_000,
        "a." * 3_000 + "a",
    ),
    *(
        "model.{0}",
        "%s",
        "[bold]",
        "*",
        "--set",
        "-",
        "name.0",
        "seed.0",
        "data.classes.0",
        "__class__",
        "model.__init__",
    ),
    *(
        "_layered",
        "optimizer._x",
        "model.model_fields",
        "training.",
        "schedule.1000000000000",
        "data.train.sampling.<<",
    ),
)


def odd_words(rng: Rng) -> tuple[str, list[str], tuple[str, ...]]:
    """A path that is there, with a value that does not suit."""
    path, value = one(rng, PATHS), one(rng, one(rng, (NUMBERS, OTHERS, TEXTS, TAGS, BROKEN)))
    words = f"{path}={value if value != 'x' else ''}"
    return "odd value", [words], _named(path)


def odd_paths(rng: Rng) -> tuple[str, list[str], tuple[str, ...]]:
    """A path that is not there, or none."""
    path = one(rng, ODD_PATHS)
    return (
        "odd path",
        [f"{path}={one(rng, ('1', '', 'x', '{a: 1}', '[1]'))}" if rng.integers(8) else path],
        _named(path),
    )


def several_words(rng: Rng) -> tuple[str, list[str], tuple[str, ...]]:
    """Some at a time."""
    words = [one(rng, (odd_words, odd_paths))(rng) for _ in range(rng.integers(2, 5))]
    return (
        "several",
        [each for _, one_word, _ in words for each in one_word],
        tuple(x for _, _, names in words for x in names),
    )


def _named(path: str) -> tuple[str, ...]:
    """What a message may call a path of --set, or one that is too long to be shown."""
    shown = path.strip()
    return (shown[:40], "--set", shown.rpartition(".")[2][:40] or "--set", shown.rpartition(".")[0][:40] or "--set")
