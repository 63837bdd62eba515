"""What a config says of looking at one video: the views of a pipeline, and how their scores are averaged."""

from kinoray.config.layers import Layered, from_tree
from kinoray.errors import ConfigError
from kinoray.mmaction2.draft import Draft
from kinoray.mmaction2.part import Part
from kinoray.mmaction2.pipelines import put_view
from kinoray.mmaction2.read import Source
from kinoray.mmaction2.recordings import put_pose_view
from kinoray.mmaction2.running import put_head
from kinoray.mmaction2.sound import put_sound_view

_OTHER_THAN_PICTURES = {"PoseDataset": put_pose_view, "AudioDataset": put_sound_view}


def view_values(source: Source, split: str) -> Layered:
    """The ``view`` of a split, as values of an evaluation split, and ``evaluation.average`` if it is not the default.

    Args:
        source: the config.
        split: ``val`` or ``test``; the other one stands in where it is missing.

    Raises:
        ConfigError: the config has no such pipeline, or it has no translation.
    """
    whole = Part.whole(source)
    names = [f"{name}_dataloader" for name in (split, "test", "val")]
    name = next((name for name in names if whole.values.get(name)), None)
    if name is None:
        raise ConfigError(f"{source.where('')}: {names[0]}: missing, so how to look at a video is not known")
    dataset = _dataset(whole, name)
    draft = Draft(source)
    put = _OTHER_THAN_PICTURES.get(dataset.type, put_view)
    put(draft, dataset.parts("pipeline"), "view", dataset, is_training=False)
    put_head(draft)
    if draft.problems:
        raise ConfigError("\n".join(draft.problems))
    wanted = ("view.", "evaluation.")
    draft.entries = {path: entry for path, entry in draft.entries.items() if path.startswith(wanted)}
    return from_tree(draft.tree())


def _dataset(whole: Part, name: str) -> Part:
    """The data set that has the pipeline: within those that repeat or join others, the first."""
    loader = whole.parts(name)[0]
    dataset = loader.part("dataset")
    while dataset is not None and "pipeline" not in dataset:
        inner = dataset.parts("dataset") or dataset.parts("datasets")
        dataset = inner[0] if inner else None
    if dataset is None:
        raise ConfigError(f"{loader.where()}: {loader.path}: no data set in it has a pipeline")
    return dataset
