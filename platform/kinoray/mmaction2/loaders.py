"""MMAction2's dataloaders -> ``data``: what is read, how it is seen, and how many videos go into a step."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kinoray.errors import ConfigError
from kinoray.mmaction2.datasets import Listed, Sort, put_source
from kinoray.mmaction2.draft import Draft
from kinoray.mmaction2.part import Part
from kinoray.mmaction2.pipelines import put_view
from kinoray.mmaction2.recordings import put_pose_view
from kinoray.mmaction2.sound import put_sound_view

_SPLITS = ("train", "val", "test")
_VIEWS: Mapping[Sort, Callable[..., None]] = {"pictures": put_view, "poses": put_pose_view, "sound": put_sound_view}
_MACHINERY = ("num_workers", "persistent_workers", "pin_memory", "prefetch_factor", "worker_init_fn", "timeout")
_NUM_GPUS = re.compile(r"(?:^|[_-])(\d+)xb(\d+)(?=[_.-]|$)")
"""In a config's file name: GPUs and videos on each."""


@dataclass(frozen=True)
class Options:
    """What a config does not say.

    Attributes:
        data_root: folder that its relative paths start from; empty: the working folder, as in MMAction2.
        num_gpus: it was meant for; None: as its file name or ``auto_scale_lr`` says.
    """

    data_root: str = ""
    num_gpus: int | None = None


def put_data(draft: Draft, whole: Part, options: Options) -> int:
    """Translate the three dataloaders; problems are kept in the draft.

    Returns:
        Passes over the training videos in what the config calls an epoch.
    """
    found: dict[str, Listed] = {}
    for split in _SPLITS:
        with draft.collecting(f"data.{split}"):
            loaders = whole.parts(f"{split}_dataloader")
            if len(loaders) > 1:
                right = "one dataloader, as Kinoray trains and tests on one list"
                raise whole.error(f"{split}_dataloader", right)
            for loader in loaders:
                listed = _put_loader(draft, loader, split, options)
                if listed is not None:
                    found[split] = listed
    if "train_dataloader" not in whole:
        _put_no_training(draft, whole)
    _drop_repeated_source(draft)
    if any(listed.multi_label for listed in found.values()):
        first = next(listed for listed in found.values() if listed.multi_label)
        draft.put("data.multi_label", True, first.owner, "multi_class")
    return found["train"].passes if "train" in found else 1


def _put_loader(draft: Draft, loader: Part, split: str, options: Options) -> Listed | None:
    at = f"data.{split}"
    per_gpu = loader.take("batch_size", 1)
    _ignore_machinery(draft, loader, split)
    dataset = loader.part("dataset")
    if dataset is None:
        raise ConfigError(f"{loader.where()}: {loader.path}: missing 'dataset'")
    misplaced = _misplaced_pipeline(draft, loader)
    with draft.collecting(at):
        loader.finish(("batch_size", "num_workers", "sampler", "dataset"))
    listed = put_source(draft, dataset, f"{at}.source", options.data_root)
    if split == "train":
        _put_batch_size(draft, loader, per_gpu, options)
    else:
        draft.put(f"{at}.batch_size", per_gpu, loader, "batch_size")
    if listed is None:
        return None
    if listed.passes > 1 and split != "train":
        with draft.collecting(at):
            raise ConfigError(f"{dataset.where('times')}: {dataset.path}: evaluation counts every video once")
    if listed.repeats > 1:
        draft.put(f"{at}.repeats", listed.repeats, listed.owner, "num_repeats")
    with draft.collecting(at):
        steps = misplaced or listed.owner.parts("pipeline")
        _VIEWS[listed.sort](draft, steps, at, listed.owner, is_training=split == "train")
    return listed


def _misplaced_pipeline(draft: Draft, loader: Part) -> list[Part]:
    """A pipeline of the loader itself, as one published config has it; MMEngine stops there, what is meant is clear."""
    if "pipeline" not in loader:
        return []
    draft.differ(loader, "taken for that of the data set", "pipeline")
    loader.take("test_mode")
    return loader.parts("pipeline")


def _ignore_machinery(draft: Draft, loader: Part, split: str) -> None:
    draft.ignore(loader, "site.yaml says what decodes", *_MACHINERY)
    draft.ignore(loader, "every view of a video goes into a batch by itself", "collate_fn")
    sampler = loader.part("sampler")
    if sampler is not None:
        shuffles = sampler.take("shuffle", True)
        if bool(shuffles) != (split == "train"):
            order = "drawn anew for every epoch" if split == "train" else "that of the list"
            draft.differ(sampler, f"the order is {order}", "shuffle")
        draft.skip(sampler, "the plan of an epoch deals out the videos")
    draft.ignore(loader, "what an epoch has left, less than a batch, is left out; another rest each time", "drop_last")


def _put_batch_size(draft: Draft, loader: Part, per_gpu: int, options: Options) -> None:
    """The global batch: videos of a GPU times GPUs, which the config does not say."""
    name = _NUM_GPUS.search(draft.source.path.stem)
    scaling = draft.source.values.get("auto_scale_lr")
    base = scaling.get("base_batch_size") if isinstance(scaling, Mapping) else None
    if options.num_gpus is not None:
        num_gpus, said_by = options.num_gpus, "as told"
    elif name is not None:
        num_gpus, said_by = int(name[1]), f"as '{name[0].strip('_-')}' in the file's name says"
    elif isinstance(base, int) and base % per_gpu == 0:
        num_gpus, said_by = base // per_gpu, "as auto_scale_lr.base_batch_size says"
    else:
        num_gpus, said_by = 1, "as neither the file's name nor auto_scale_lr says how many"
    accumulated = _accumulated(draft)
    draft.put("data.train.batch_size", per_gpu * num_gpus * accumulated, loader, "batch_size")
    times = f" x {accumulated} accumulated" if accumulated > 1 else ""
    draft.differ(loader, f"of all workers together: {per_gpu} a GPU x {num_gpus} GPUs{times}, {said_by}", "batch_size")


def _accumulated(draft: Draft) -> int:
    wrapper = draft.source.values.get("optim_wrapper")
    counts = wrapper.get("accumulative_counts", 1) if isinstance(wrapper, Mapping) else 1
    return counts if isinstance(counts, int) and counts > 0 else 1


def _put_no_training(draft: Draft, whole: Part) -> None:
    """A config that only tests: the recipe has to say how to train, and what to train on is left to its user."""
    values = {
        "data.train.source.kind": "missing",
        "data.train.source.why": f"{draft.source.path.name} has no train_dataloader",
        "data.train.batch_size": 64,
    }
    for path, value in values.items():
        draft.put(path, value, whole)
    copied = {
        path.replace("data.test", "data.train", 1): entry
        for path, entry in draft.entries.items()
        if re.match(r"data\.test\.(sampling\.(?!num_clips|twice)|crop)", path)
    }
    for path, entry in copied.items():
        draft.put(path, entry.value, whole, "test_dataloader")
    if not copied:
        _put_view_of_model(draft, whole)


def _put_view_of_model(draft: Draft, whole: Part) -> None:
    """A config of a model alone: the views that it takes, where it says which."""
    frames, side = draft.entries.get("model.num_frames"), draft.entries.get("model.crop")
    if frames is None or side is None:
        with draft.collecting("data.train"):
            raise ConfigError(f"{whole.where()}: train_dataloader: missing, and so are val_ and test_dataloader")
        return
    draft.put("data.train.sampling", {"kind": "uniform", "clip_len": frames.value}, whole, "model")
    draft.put("data.train.crop", side.value, whole, "model")


def _drop_repeated_source(draft: Draft) -> None:
    """``data.test`` without a source of its own uses that of ``data.val``."""
    val, test = (
        {path.removeprefix(at): entry.value for path, entry in draft.entries.items() if path.startswith(at)}
        for at in ("data.val.source.", "data.test.source.")
    )
    if val and val == test:
        for path in [path for path in draft.entries if path.startswith("data.test.source.")]:
            del draft.entries[path]
