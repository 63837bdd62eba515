"""MMAction2's data sets -> ``source``.

Source: datasets of MMAction2 1.2.0 and mmengine/dataset/base_dataset.py of MMEngine 0.10.
"""

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from kinoray.errors import ConfigError
from kinoray.mmaction2.draft import Draft, demand
from kinoray.mmaction2.part import Part

_MACHINERY = ("serialize_data", "lazy_init", "max_refetch", "test_mode", "io_backend", "file_client_args", "metainfo")
_COMMON = ("ann_file", "data_prefix", "data_root", "pipeline", "multi_class", "num_classes", "start_index", "modality")


Sort = Literal["pictures", "poses", "sound"]


@dataclass(frozen=True)
class Listed:
    """A data set, as it is listed.

    Attributes:
        owner: the mapping that has the pipeline.
        passes: over the list in what MMAction2 calls an epoch.
        repeats: views that are drawn from a video while it is read once.
        multi_label: whether videos have several labels.
        sort: of what is listed.
    """

    owner: Part
    passes: int = 1
    repeats: int = 1
    multi_label: bool = False
    sort: Sort = "pictures"


def put_source(draft: Draft, dataset: Part, at: str, data_root: str) -> Listed | None:
    """Translate a data set, with what is wrapped around it; problems are kept in the draft.

    Args:
        draft: what takes the source.
        dataset: the mapping.
        at: path of the recipe's ``source``.
        data_root: folder that relative paths start from; empty: the working folder, as in MMAction2.

    Returns:
        What else the data set says; None where it has no translation.
    """
    kind = dataset.type
    with draft.collecting(at):
        if kind == "RepeatDataset":
            times = dataset.need("times")
            inner = dataset.part("dataset")
            dataset.finish()
            listed = None if inner is None else put_source(draft, inner, at, data_root)
            return listed and replace(listed, passes=listed.passes * times)
        if kind == "ConcatDataset":
            return _put_joined(draft, dataset, at, data_root)
        if kind not in _DATASETS:
            known = ", ".join(sorted((*_DATASETS, "RepeatDataset", "ConcatDataset")))
            told = f"the data set '{kind}' has no translation; known are {known}"
            raise ConfigError(f"{dataset.where('type')}: {dataset.path}: {told}")
        values, listed = _DATASETS[kind](draft, dataset, data_root)
        for name, (value, key) in values.items():
            draft.put(f"{at}.{name}", value, dataset, key)
        return listed
    return None


Values = dict[str, tuple[Any, str]]
"""Field of the source -> its value and the key that it was made from."""


def _put_joined(draft: Draft, dataset: Part, at: str, data_root: str) -> Listed:
    draft.put(f"{at}.kind", "joined", dataset, "type")
    parts = dataset.parts("datasets")
    draft.ignore(dataset, "lists are read when they are needed", *_MACHINERY)
    dataset.finish()
    found = [put_source(draft, part, f"{at}.sources.{number}", data_root) for number, part in enumerate(parts)]
    known = [listed for listed in found if listed is not None]
    if len(known) != len(parts) or not known:
        raise ConfigError(
            f"{dataset.where('datasets')}: {dataset.below('datasets')}: not all of them have a translation"
        )
    first = known[0]
    for other in known[1:]:
        if other.owner.values.get("pipeline") != first.owner.values.get("pipeline"):
            raise other.owner.error("pipeline", "that of the first data set, since a split has one view")
        other.owner.take("pipeline")
    return first


def _video_list(draft: Draft, dataset: Part, data_root: str) -> tuple[Values, Listed]:
    values = _list(dataset, data_root, "video_list", "video")
    if dataset.values.get("delimiter", " ") != " ":
        values["delimiter"] = dataset.take("delimiter"), "delimiter"
    draft.ignore(dataset, "is the default: white space", "delimiter")
    return values, _common(draft, dataset)


def _repeated_list(draft: Draft, dataset: Part, data_root: str) -> tuple[Values, Listed]:
    repeats = dataset.take("num_repeats", 4)
    if dataset.take("sample_once", False):
        draft.differ(dataset, "each view draws its own frames, not the first one's", "sample_once")
    values, listed = _video_list(draft, dataset, data_root)
    return values, replace(listed, repeats=repeats)


def _frame_list(draft: Draft, dataset: Part, data_root: str) -> tuple[Values, Listed]:
    values = _list(dataset, data_root, "frame_list", "img")
    values["template"] = dataset.take("filename_tmpl", "img_{:05}.jpg"), "filename_tmpl"
    if dataset.values.get("with_offset"):
        values["with_offset"] = dataset.take("with_offset"), "with_offset"
    draft.ignore(dataset, "is the default", "with_offset")
    return values, _common(draft, dataset)


def _skeletons(draft: Draft, dataset: Part, data_root: str) -> tuple[Values, Listed]:
    values = _list(dataset, data_root, "skeletons", "skeleton")
    root, _ = values.pop("root")
    if "skeleton" in (dataset.values.get("data_prefix") or {}):
        values["root"] = root, "data_prefix"
    split = dataset.take("split")
    if split is not None:
        values["split"] = split, "split"
    if dataset.values.get("valid_ratio"):
        raise dataset.error("valid_ratio", "0, as all videos of a split count")
    draft.ignore(dataset, "all videos of a split count", "valid_ratio", "box_thr")
    return values, replace(_common(draft, dataset), sort="poses")


def _sound_list(draft: Draft, dataset: Part, data_root: str) -> tuple[Values, Listed]:
    values = _list(dataset, data_root, "audio_list", "audio")
    draft.ignore(dataset, "the list has the names of files", "suffix")
    return values, replace(_common(draft, dataset), sort="sound")


def _list(dataset: Part, data_root: str, kind: str, prefix: str) -> Values:
    below = dataset.take("data_root") or ""
    prefixes: Mapping[str, Any] = dataset.take("data_prefix") or {}
    if not isinstance(prefixes, Mapping):
        raise dataset.error("data_prefix", f"a mapping such as dict({prefix}='data/videos')")
    root = _joined(data_root, below, prefixes.get(prefix) or "")
    return {
        "kind": (kind, "type"),
        "path": (_joined(data_root, below, dataset.need("ann_file")), "ann_file"),
        "root": (root or ".", "data_prefix" if prefixes else "type"),
    }


def _common(draft: Draft, dataset: Part) -> Listed:
    multi_label = bool(dataset.take("multi_class", False))
    demand(dataset, "modality", "RGB", why="as pictures of optical flow are not read")
    draft.ignore(dataset, "is model.num_classes", "num_classes")
    draft.ignore(dataset, "the number of the first frame is found out from the files", "start_index")
    draft.ignore(dataset, "lists are read when they are needed", *_MACHINERY)
    pipeline = dataset.left.pop("pipeline", None)
    del pipeline  # taken by whoever translates the view
    dataset.finish((*_COMMON, "delimiter", "filename_tmpl", "with_offset", "num_repeats", "sample_once"))
    return Listed(dataset, multi_label=multi_label)


def _joined(*parts: str) -> str:
    """Paths below one another, as MMEngine joins them; a URI or an absolute path starts anew."""
    path = ""
    for part in parts:
        path = part if "://" in part else posixpath.join(path, part) if part else path
    return posixpath.normpath(path) if path and "://" not in path else path


_DATASETS: Mapping[str, Callable[[Draft, Part, str], tuple[Values, Listed]]] = {
    "VideoDataset": _video_list,
    "RawframeDataset": _frame_list,
    "RepeatAugDataset": _repeated_list,
    "PoseDataset": _skeletons,
    "AudioDataset": _sound_list,
}
