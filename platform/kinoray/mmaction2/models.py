"""The ``model`` of a config as values of a recipe's ``model`` section."""

from dataclasses import dataclass
from typing import Any

from kinoray.config.suggest import did_you_mean
from kinoray.errors import ConfigError
from kinoray.mmaction2.families import clips, frames, pyramid, rgbpose, skeletons, transformers
from kinoray.mmaction2.families.common import NO_EFFECT, Network, Translation
from kinoray.mmaction2.part import Part
from kinoray.mmaction2.read import Source

# Keys that only configs of 0.x have, at the top.
_OLD_KEYS = ("total_epochs", "lr_config", "optimizer_config", "checkpoint_config")
_RECOGNIZERS = ("Recognizer2D", "Recognizer3D", "RecognizerGCN", "RecognizerAudio", "RecognizerOmni", "MMRecognizer3D")
# Type of the backbone -> what translates it, with the head that goes with it where there are several.
_FAMILIES: dict[str, Translation | dict[str, Translation]] = {
    "ResNet": {"TSNHead": frames.tsn, "TRNHead": frames.trn, "TSNAudioHead": skeletons.audio_tsn},
    "MobileOne": frames.tsn_mobileone,
    "ResNeXt": frames.tsn_resnext,
    "ResNetTSM": {"TSMHead": frames.tsm, "TPNHead": pyramid.tpn_tsm},
    "MobileNetV2TSM": frames.tsm_mobilenet,
    "MobileOneTSM": frames.tsm_mobileone,
    "ResNetTIN": frames.tin,
    "TANet": frames.tanet,
    "C2D": frames.c2d,
    "ResNet3d": clips.i3d,
    "ResNet3dSlowOnly": {"I3DHead": clips.slowonly, "TPNHead": pyramid.tpn_slowonly},
    "OmniResNet": clips.omnisource,
    "ResNet3dSlowFast": clips.slowfast,
    "ResNet2Plus1d": clips.r2plus1d,
    "ResNet3dCSN": clips.csn,
    "C3D": clips.c3d,
    "X3D": clips.x3d,
    "TimeSformer": transformers.timesformer,
    "VisionTransformer": transformers.videomae,
    "MViT": transformers.mvit,
    "SwinTransformer3D": transformers.video_swin,
    "UniFormer": transformers.uniformer,
    "UniFormerV2": transformers.uniformerv2,
    "STGCN": skeletons.stgcn,
    "AAGCN": skeletons.agcn,
    "ResNetAudio": skeletons.audio_resnet,
    "RGBPoseConv3D": rgbpose.rgbpose,
}


@dataclass(frozen=True)
class TranslatedModel:
    """What ``model`` becomes.

    Attributes:
        values: of the recipe's ``model``.
        training: of the recipe's ``training`` that the network brings along: ``init_from``, ``freeze``,
            ``sync_batch_norm``, ``activation_checkpointing``.
        notes: what a reader should know of the translation.
    """

    values: dict[str, Any]
    training: dict[str, Any]
    notes: tuple[str, ...]


def model_values(source: Source) -> dict[str, Any]:
    """The values of the recipe's ``model``, see ``translate_model``."""
    return translate_model(source).values


def translate_model(source: Source) -> TranslatedModel:
    """Translate ``model``: every key is translated, known to change nothing, or an error.

    Raises:
        ConfigError: the config is of MMAction2 0.x, holds no recognizer, or says what has no translation; it names
            key, file and line.
    """
    _demand_1x(source)
    model = Part.whole(source).part("model")
    if model is None:
        raise ConfigError(f"{source.where('')}: no model; a config of MMAction2 holds model = dict(type=...)")
    network = _network(model)
    translation = _translation(network)
    values = translation(network)
    network.finish()
    return TranslatedModel(_plain(values), _plain(network.training), tuple(network.notes))


def _demand_1x(source: Source) -> None:
    data, model = source.values.get("data"), source.values.get("model")
    test = model.get("test_cfg") if isinstance(model, dict) else None
    signs = [key for key in _OLD_KEYS if key in source.values]
    if isinstance(data, dict) and data.keys() & {"train", "val", "test"}:
        signs.append("data")
    if isinstance(test, dict) and "average_clips" in test:
        signs.append("model.test_cfg.average_clips")
    if signs:
        raise ConfigError(
            f"{source.where(signs[0])}: a config of MMAction2 0.x, got {signs[0]}; give the config of the same name of "
            "MMAction2 1.x, which checkpoints of 0.x fit as well"
        )


def _network(model: Part) -> Network:
    if model.type not in _RECOGNIZERS:
        raise model.error("type", f"{' or '.join(_RECOGNIZERS)}; other tasks are not translated")
    backbone, head = model.part("backbone"), model.part("cls_head")
    if backbone is None or head is None:
        raise ConfigError(f"{model.where()}: model: missing '{'cls_head' if backbone else 'backbone'}'")
    mean, std = _mean_and_std(model.part("data_preprocessor"))
    if (test := model.part("test_cfg")) is not None:
        test.ignore(NO_EFFECT["test_cfg"])
        test.only("feature_extraction", False)
        test.finish()
    model.only("train_cfg", None, {})
    model.only("init_cfg", None)
    return Network(model, backbone, head, mean, std)


def _mean_and_std(preprocessor: Part | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Empty where nothing is normalized; where a preprocessor is for heatmaps, too, those of the pictures."""
    if preprocessor is None:
        return (), ()
    kind = preprocessor.type
    if kind == "MultiModalDataPreprocessor":
        return _of_pictures(preprocessor)
    if kind not in {"", "ActionDataPreprocessor"}:
        raise preprocessor.error("type", "ActionDataPreprocessor")
    preprocessor.ignore(NO_EFFECT["data_preprocessor"])
    preprocessor.only("to_rgb", False)
    mean, std = tuple(preprocessor.take("mean") or ()), tuple(preprocessor.take("std") or ())
    preprocessor.finish()
    return mean, std


def _of_pictures(preprocessor: Part) -> tuple[tuple[float, ...], tuple[float, ...]]:
    both = preprocessor.part("preprocessors")
    preprocessor.finish()
    if both is None:
        return (), ()
    heatmaps = both.part("heatmap_imgs")
    if heatmaps is not None and _mean_and_std(heatmaps)[0]:
        raise heatmaps.error("mean", "left out, for heatmaps are floats that are taken as they are")
    found = _mean_and_std(both.part("imgs"))
    both.finish()
    return found


def _translation(network: Network) -> Translation:
    if str(network.backbone.values.get("type")).startswith(("torchvision.", "timm.")):
        return frames.tsn_library
    name = network.backbone.type
    found = _FAMILIES.get(name)
    if found is None:
        raise network.backbone.error("type", f"one of {', '.join(_FAMILIES)}{did_you_mean(name, _FAMILIES)}")
    if not isinstance(found, dict):
        return found
    head = network.head.values.get("type", "")
    if head not in found:
        raise network.head.error("type", " or ".join(found))
    return found[head]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(child) for key, child in value.items()}
    return [_plain(child) for child in value] if isinstance(value, list | tuple) else value
