"""MMAction2's pipelines for skeletons -> views of kind ``skeleton`` and ``heatmap``.

Source: datasets/transforms/{pose_transforms,formatting}.py of MMAction2 1.2.0.
"""

from collections.abc import Callable, Mapping, Sequence

from kinoray.errors import ConfigError
from kinoray.mmaction2.draft import Draft, demand
from kinoray.mmaction2.part import Part
from kinoray.mmaction2.pipelines import square
from kinoray.mmaction2.sampling import SAMPLERS, put_sampling

_JOINTS = {"coco": "coco", "nturgb+d": "nturgb+d", "openpose": "openpose"}
_STREAMS = {"j": "joint", "b": "bone", "jm": "joint_motion", "bm": "bone_motion"}
_IDLE: Mapping[str, str] = {
    "PoseDecode": "skeletons are picked with the frames",
    "PackActionInputs": "batches are packed by Kinoray",
    "FormatShape": "views have the shape that the model takes",
}


class _PoseView:
    """A pipeline of skeletons while its steps are taken; which kind of view it is shows in its last ones."""

    def __init__(self, draft: Draft, at: str, *, is_training: bool) -> None:
        self.draft, self.at, self.is_training = draft, at, is_training
        self.sampled = self.boxed = self.sized = self.flipped = False
        self.takes: Mapping[str, Callable[[Part], None]] = {
            "PreNormalize2D": self.normalized_in_picture,
            "PreNormalize3D": self.normalized_in_space,
            "GenSkeFeat": self.features,
            "FormatGCNInput": self.graph,
            "DecompressPose": self.decompressed,
            "PoseCompact": self.compacted,
            "Resize": self.resized,
            "RandomResizedCrop": self.random_box,
            "CenterCrop": self.centre,
            "Flip": self.flip,
            "GeneratePoseTarget": self.heatmaps,
        }

    def take(self, step: Part, kind: str) -> None:
        if kind in SAMPLERS:
            put_sampling(self.draft, step, kind, f"{self.at}.sampling", is_training=self.is_training)
            self.sampled = True
        elif kind in _IDLE:
            self.draft.skip(step, _IDLE[kind])
        elif kind in self.takes:
            self.takes[kind](step)
            step.finish()
        else:
            known = ", ".join(sorted((*SAMPLERS, *self.takes)))
            told = f"the transform '{kind}' of skeletons has no translation; known are {known}"
            raise ConfigError(f"{step.where()}: {step.path}: {told}")

    def normalized_in_picture(self, step: Part) -> None:
        demand(step, "img_shape", [1080, 1920], why="which only counts where an annotation tells no size")
        self.draft.skip(step, "coordinates always count from the middle of the picture")

    def normalized_in_space(self, step: Part) -> None:
        demand(step, "zaxis", [0, 1], why="as joints of NTU RGB+D are always turned")
        demand(step, "xaxis", [8, 4], why="as joints of NTU RGB+D are always turned")
        for key in ("align_spine", "align_shoulder", "align_center"):
            demand(step, key, True, why="as joints in space are always aligned with the body")
        self.draft.skip(step, "joints in space are always aligned with the body")

    def features(self, step: Part) -> None:
        names = step.take("feats", ["j"])
        if not (isinstance(names, list) and len(names) == 1 and names[0] in _STREAMS):
            raise step.error("feats", f"one of {', '.join(repr([name]) for name in _STREAMS)}")
        joints = step.choice("dataset", _JOINTS, "nturgb+d")
        demand(step, "axis", -1, why="the last")
        self.draft.put(f"{self.at}.joints", joints, step, "dataset")
        self.draft.put(f"{self.at}.stream", _STREAMS[names[0]], step, "feats")

    def graph(self, step: Part) -> None:
        self.draft.put(f"{self.at}.kind", "skeleton", step, "type")
        self.draft.put(f"{self.at}.num_persons", step.take("num_person", 2), step, "num_person")
        demand(step, "mode", "zero", why="as missing persons are zeros")

    def decompressed(self, step: Part) -> None:
        demand(step, "squeeze", True, why="as frames without anyone are left out")
        demand(step, "max_person", 10, why="as of more persons in a frame the surest are kept")
        self.draft.skip(step, "skeletons are unpacked when their list is read")

    def compacted(self, step: Part) -> None:
        if step.values.get("hw_ratio") not in (1, 1.0, [1, 1], [1.0, 1.0]):
            raise step.error("hw_ratio", "1.0, as what is cut out is square")
        step.take("hw_ratio")
        demand(step, "allow_imgpad", True, why="as the square may reach past the picture")
        demand(step, "threshold", 10, why="in pixels, below which nothing is cut out")
        if "padding" in step.left:
            self.draft.put(f"{self.at}.padding", step.take("padding"), step, "padding")

    def resized(self, step: Part) -> None:
        scale, keeps_ratio = step.need("scale"), step.take("keep_ratio", True)
        self.draft.ignore(step, "joints have no pixels", "interpolation", "lazy")
        sides = scale if isinstance(scale, list) else [scale, scale]
        if self.boxed:
            if sides[0] != sides[1] or keeps_ratio:
                raise step.error("scale", "(S, S) with keep_ratio=False after a crop")
            self.size(step, "scale", sides[0])
            return
        if not ((min(sides) == -1 and keeps_ratio) or (sides[0] == sides[1] and not keeps_ratio)):
            raise step.error("scale", "(-1, S), or (S, S) with keep_ratio=False")
        self.draft.put(f"{self.at}.resize", max(sides), step, "scale")
        if not keeps_ratio:
            self.draft.put(f"{self.at}.keep_ratio", False, step, "keep_ratio")

    def size(self, step: Part, key: str, side: int) -> None:
        self.sized = True
        self.draft.put(f"{self.at}.crop", side, step, key)

    def random_box(self, step: Part) -> None:
        if not self.is_training:
            raise ConfigError(f"{step.where()}: {step.path}: a random crop has no translation in an evaluation")
        self.boxed = True
        self.draft.put(f"{self.at}.box.kind", "random_resized", step)
        for name, key in (("scale", "area_range"), ("ratio", "aspect_ratio_range")):
            if key in step.left:
                self.draft.put(f"{self.at}.box.{name}", step.take(key), step, key)
        self.draft.ignore(step, "joints have no pixels", "lazy")

    def centre(self, step: Part) -> None:
        if self.is_training:
            raise ConfigError(f"{step.where()}: {step.path}: training takes a random crop")
        self.size(step, "crop_size", square(step, "crop_size"))

    def flip(self, step: Part) -> None:
        if not self.is_training:
            raise ConfigError(f"{step.where()}: {step.path}: evaluation mirrors nothing at random")
        demand(step, "direction", "horizontal", why="left and right")
        self.flipped = True
        self.draft.put(f"{self.at}.flip", step.take("flip_ratio", 0.5), step, "flip_ratio")
        self.draft.ignore(step, "which joints are left and right is known", "left_kp", "right_kp")

    def heatmaps(self, step: Part) -> None:
        limbs, joints = step.take("with_limb", False), step.take("with_kp", True)
        if bool(limbs) == bool(joints):
            raise step.error("with_limb", "True with with_kp=False, or the other way round")
        self.draft.put(f"{self.at}.kind", "heatmap", step, "type")
        self.draft.put(f"{self.at}.draws", "limbs" if limbs else "joints", step, "with_limb")
        if limbs and "skeletons" in step.left:
            self.draft.put(f"{self.at}.limbs", step.take("skeletons"), step, "skeletons")
        for name, key in (("sigma", "sigma"), ("use_scores", "use_score")):
            if key in step.left:
                self.draft.put(f"{self.at}.{name}", step.take(key), step, key)
        if step.take("double", False):
            if self.is_training:
                raise step.error("double", "False in training")
            self.draft.put(f"{self.at}.with_mirrored", True, step, "double")
        demand(step, "scaling", 1, 1.0, why="as heatmaps have the size of the crop")
        known = "which joints and limbs are left and right is known"
        self.draft.ignore(step, known, "left_kp", "right_kp", "left_limb", "right_limb", "skeletons")
        self.draft.differ(step, "of more than two persons those are drawn whose joints are surest; see num_persons")

    def close(self, owner: Part) -> None:
        """Put what the lack of a step says.

        Raises:
            ConfigError: a step is missing that a view cannot do without.
        """
        kind = self.draft.entries.get(f"{self.at}.kind")
        if not self.sampled or kind is None:
            lacking = (
                "GeneratePoseTarget or FormatGCNInput" if self.sampled else "a sampler such as UniformSampleFrames"
            )
            raise ConfigError(f"{owner.where('pipeline')}: {owner.below('pipeline')}: lacks {lacking}")
        resize = self.draft.entries.get(f"{self.at}.resize")
        if kind.value == "heatmap" and not self.sized and resize is not None:
            self.draft.put(f"{self.at}.crop", resize.value, owner, "pipeline")
        if kind.value == "heatmap" and self.is_training:
            if not self.flipped:
                self.draft.put(f"{self.at}.flip", 0.0, owner, "pipeline")
            if not self.boxed:
                self.draft.put(f"{self.at}.box.kind", "centre", owner, "pipeline")


def put_pose_view(draft: Draft, steps: Sequence[Part], at: str, owner: Part, *, is_training: bool) -> None:
    """Translate a pipeline of skeletons; as ``pipelines.put_view``."""
    view = _PoseView(draft, at, is_training=is_training)
    for step in steps:
        kind = step.type
        with draft.collecting(at):
            view.take(step, kind)
    with draft.collecting(at):
        view.close(owner)
