"""What fuzz_config.py damages: recipes, sites, sweeps and annotation files as they should be, and who reads them."""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml
from pyarrow import parquet
from report import ROOT

CLASSES = ("left", "right", "still")
NUM_ROWS = 12
RECIPE = """\
# A recipe with something of everything.
name: small
seed: 3
model: {kind: tiny3d, num_classes: 3, norm: group}
data:
  classes: classes.txt
  max_bad_fraction: 1.0
  train:
    source:
      kind: manifest
      path: train.csv
      where_not: {fold: [9]}
    sampling: &clip {clip_len: 8, frame_interval: 2}
    crop: 32
    box: {kind: random_resized, scale: [0.6, 1.0], ratio: [0.75, 1.33]}
    batch_size: 4
  val: {source: val.csv, sampling: *clip, crop: 32, batch_size: 4}
  test:
    sampling: {<<: *clip, num_clips: 2}
    crop: 32
    num_crops: 3
  flip_labels: {left: right, right: left}
optimizer: {kind: sgd, lr: 0.05, momentum: 0.9, weight_decay: 1e-4}
schedule:
  - {kind: linear, end: 1, start_factor: 0.1, per: step}
  - kind: cosine
    begin: 1
loss: {kind: cross_entropy, label_smoothing: 0.1}
training:
  epochs: 4
  clip_grad_norm: 40
  precision: fp32
  freeze: ["stem.*"]
evaluation: {every_epochs: 2, monitor: top1}
"""
SITE = """\
# A site with something of everything.
local_cpus: 2
workers: 1
cpus_per_worker: 1
gpus_per_worker: 0
decode_cpus: 1
storage: ./runs
experiment: fuzz
max_failures: 1
price_per_cpu_hour: 0.05
packages: []
"""
SWEEP = """\
# A sweep with something of everything.
recipe: recipe.yaml
metric: top1
mode: max
trials: 4
concurrency: 1
space:
  optimizer.lr: {loguniform: [1e-3, 0.3]}
  optimizer.momentum: {uniform: [0.5, 0.9], step: 0.1}
  loss.label_smoothing: {choice: [0.0, 0.1]}
  schedule:
    choice:
      cosine: [{kind: cosine, per: step}]
      one_cycle: [{kind: one_cycle, per: step}]
search: {kind: random, seed: 0}
scheduler: {kind: asha, grace_epochs: 1, reduction_factor: 2}
budget: {epochs: 4}
seeds: [1, 2]
"""


@dataclass(frozen=True)
class Subject:
    """A file that some job reads.

    Attributes:
        what: it is, for tables.
        file: its path below the folder that the job runs in.
        files: all that the job needs, this file included.
        command: the job and its arguments; it ends with 0 as long as nothing is damaged.
    """

    what: str
    file: str
    files: Mapping[str, bytes]
    command: tuple[str, ...]

    @property
    def content(self) -> bytes:
        """Of the file, undamaged."""
        return self.files[self.file]

    @property
    def is_yaml(self) -> bool:
        """Whether it is of our own configuration."""
        return self.file.endswith(".yaml")


def manifest_csv(delimiter: str = ",") -> str:
    """The small recipe's manifest."""
    lines = [("video_id", "path", "label", "start_seconds", "end_seconds", "group", "fold")]
    for number in range(NUM_ROWS):
        label = CLASSES[number % len(CLASSES)]
        lines.append((f"v{number}", f"videos/{number}.mp4", label, "0.5", f"{number + 1}.25", "", str(number % 4)))
    return "".join(f"{delimiter.join(line)}\n" for line in lines)


_TRAIN = ("train.py", "recipe.yaml", "--dry-run", "--set", "site.local_cpus=2")
_BESIDE = {
    "recipe.yaml": RECIPE.encode(),
    "classes.txt": "".join(f"{name}\n" for name in CLASSES).encode(),
    "train.csv": manifest_csv().encode(),
    "val.csv": manifest_csv().encode(),
}


@cache
def subjects() -> Mapping[str, tuple[Subject, ...]]:
    """All of them by family."""
    return {
        "recipe": (Subject("recipe", "recipe.yaml", _BESIDE, _TRAIN),),
        "config": tuple(_of_the_tree()),
        "site": (_site(), Subject("site", "site.yaml", _BESIDE | {"site.yaml": SITE.encode()}, _with_site())),
        "sweep": tuple(_sweeps()),
        "manifest": (*_tables(), *_annotations()),
        "words": (Subject("--set", "recipe.yaml", _BESIDE, _TRAIN),),
    }


def _of_the_tree() -> list[Subject]:
    """The recipes of configs/, and the files that they are based on; their data need not be there."""
    found = []
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        if path.parent.name not in {"_base_", "sites", "sweeps"}:
            files = _with_bases(path)
            command = ("train.py", str(path.relative_to(ROOT)), "--print-recipe")
            found += [Subject("recipe of configs/", file, files, command) for file in files]
    return found


def _with_bases(path: Path) -> dict[str, bytes]:
    content = path.read_bytes()
    bases = yaml.safe_load(content).get("base", [])
    files = {str(path.resolve().relative_to(ROOT)): content}
    for base in [bases] if isinstance(bases, str) else bases:
        files |= _with_bases(path.parent / base)
    return files


def _with_site() -> tuple[str, ...]:
    return ("train.py", "recipe.yaml", "--dry-run", "--site", "site.yaml")


def _site() -> Subject:
    based = b"base: site.yaml\nworkers: 1\n"
    command = ("train.py", "recipe.yaml", "--dry-run", "--site", "mine.yaml")
    return Subject("site", "mine.yaml", _BESIDE | {"site.yaml": SITE.encode(), "mine.yaml": based}, command)


def _sweeps() -> list[Subject]:
    files = _BESIDE | {"sweep.yaml": SWEEP.encode()}
    command = ("sweep.py", "sweep.yaml", "--dry-run", "--set", "site.local_cpus=2")
    return [Subject("sweep", "sweep.yaml", files, command), Subject("recipe of a sweep", "recipe.yaml", files, command)]


def _tables() -> list[Subject]:
    table = pa.Table.from_pylist(
        [dict(zip(_header(), line.split(","), strict=True)) for line in manifest_csv().splitlines()[1:]]
    )
    for name in ("start_seconds", "end_seconds"):
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(pa.float64()))
    sink = BytesIO()
    parquet.write_table(table, sink)
    rows = "".join(f"{json.dumps(row)}\n" for row in table.to_pylist())
    contents = {
        "train.csv": manifest_csv().encode(),
        "train.tsv": manifest_csv("\t").encode(),
        "train.jsonl": rows.encode(),
        "train.parquet": sink.getvalue(),
    }
    found = [Subject("class list", "classes.txt", _BESIDE, _TRAIN)]
    for file, content in contents.items():
        what, files = f"manifest {Path(file).suffix}", _BESIDE | {file: content}
        where_not = () if file == "train.csv" else ("--set", "data.train.source.where_not={fold: ['9']}")
        found.append(Subject(what, file, files, (*_TRAIN, "--set", f"data.train.source.path={file}", *where_not)))
        found.append(Subject(f"{what}, prepare", file, files, ("prepare.py", file, "out", "--dry-run")))
    return found


def _header() -> list[str]:
    return manifest_csv().splitlines()[0].split(",")


def _annotations() -> list[Subject]:
    """Small files in the formats of data sets; each is damaged in turn."""
    at = range(NUM_ROWS)
    names = [CLASSES[number % len(CLASSES)] for number in at]
    return [
        *_source("video_list", {"list.txt": "".join(f"a/{number}.mp4 {number % 3}\n" for number in at)}),
        *_source("frame_list", {"list.txt": "".join(f"a/{number} 48 {number % 3}\n" for number in at)}),
        *_source("audio_list", {"list.txt": "".join(f"a/{number}.npy 48 {number % 3}\n" for number in at)}),
        *_source(
            "kinetics",
            {
                "list.csv": "label,youtube_id,time_start,time_end,split\n"
                + "".join(f'"{name}",abc-{number},{number},{number + 10},train\n' for number, name in enumerate(names))
            },
        ),
        *_source(
            "ucf101",
            {
                "classInd.txt": "".join(f"{number} {name}\n" for number, name in enumerate(CLASSES, 1)),
                "trainlist01.txt": "".join(
                    f"{name}/v_{name}_g{number:02}_c01.avi {CLASSES.index(name) + 1}\n"
                    for number, name in enumerate(names)
                ),
            },
        ),
        *_source(
            "moments",
            {
                "moments_categories.txt": "".join(f"{name},{number}\n" for number, name in enumerate(CLASSES)),
                "trainingSet.csv": "".join(f"{name}/{number}.mp4,{name},3,1\n" for number, name in enumerate(names)),
            },
        ),
        *_source(
            "jester",
            {
                "labels.csv": "".join(f"{name}\n" for name in CLASSES),
                "train.csv": "".join(f"{number};{name}\n" for number, name in enumerate(names)),
            },
        ),
        *_source(
            "sthv2",
            {
                "labels.json": json.dumps({name: str(number) for number, name in enumerate(CLASSES)}, indent=1),
                "train.json": json.dumps(
                    [{"id": str(number), "template": f"[{name}]"} for number, name in enumerate(names)], indent=1
                ),
            },
        ),
        *_source(
            "diving48",
            {
                "Diving48_vocab.json": json.dumps([["Back", "15som"], ["Back", "FREE"], ["Inward", "PIKE"]]),
                "Diving48_V2_train.json": json.dumps(
                    [{"vid_name": f"v_{number}", "label": number % 3} for number in at], indent=1
                ),
            },
        ),
        *_source("skeletons", {"list.pkl": _skeletons()}),
    ]


def _source(kind: str, files: Mapping[str, str | bytes]) -> list[Subject]:
    contents = {
        f"lists/{name}": content if isinstance(content, bytes) else content.encode() for name, content in files.items()
    }
    if len(files) == 1:
        settings = f"kind: {kind}, path: {next(iter(contents))}"
    else:
        settings = f"kind: {kind}, annotations: lists, split: train"
    settings += ", split: train" if kind == "skeletons" else ", root: videos"
    words = [
        f"data.train.source={{{settings}}}",
        "data.classes=null",
        "data.val=null",
        "data.test=null",
    ]
    recipe = RECIPE.replace("  flip_labels: {left: right, right: left}\n", "").encode()
    command = (*_TRAIN, *(part for word in words for part in ("--set", word)))
    return [Subject(f"source {kind}", name, _BESIDE | contents | {"recipe.yaml": recipe}, command) for name in contents]


def _skeletons() -> bytes:
    rng = np.random.default_rng(0)
    annotations = [
        {
            "frame_dir": f"v{number}",
            "label": number % 3,
            "img_shape": (480, 640),
            "total_frames": 4,
            "keypoint": rng.uniform(0, 400, (1, 4, 17, 2)).astype(np.float16),
        }
        for number in range(NUM_ROWS)
    ]
    return pickle.dumps({"split": {"train": [f"v{number}" for number in range(NUM_ROWS)]}, "annotations": annotations})
