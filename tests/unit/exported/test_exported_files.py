"""Files of other runtimes: what comes out of them is what went in, and nothing of theirs is run unasked."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_training import CLASSES, toy_values

from kinoray import load_recognizer
from kinoray.data.views import EvalView
from kinoray.errors import CheckpointError, ConfigError, DataError, ResourceError
from kinoray.exported import files, onnx_file
from kinoray.exported.files import check_target, export, is_exported, open_exported
from kinoray.exported.model import KEY, Facts
from kinoray.models.base import Recognizer
from kinoray.recipe import Recipe
from kinoray.recognizer import VideoRecognizer

pytest.importorskip("onnxscript")
onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of packages that write ONNX, about one another

CPU = torch.device("cpu")
SUFFIXES = (".onnx", ".pt2")


@pytest.fixture(scope="module")
def recognizer(toy_videos: Path) -> VideoRecognizer:
    """Never trained, with scores that differ from view to view."""
    recipe = Recipe.from_mapping(toy_values(toy_videos), "test").replace({"data.val.sampling.num_clips": 2})
    torch.manual_seed(0)
    model = recipe.model.build().eval()
    for weights in model.head().parameters():
        torch.nn.init.normal_(weights, std=3)
    return VideoRecognizer(model, recipe.data.evaluation_split("val"), CLASSES, "score", recipe=recipe)


@pytest.fixture(scope="module")
def model(recognizer: VideoRecognizer) -> Recognizer:
    assert isinstance(recognizer.model, Recognizer)
    return recognizer.model


@pytest.fixture(scope="module")
def facts(recognizer: VideoRecognizer) -> Facts:
    view = EvalView.model_validate(recognizer.view.model_dump(include=set(EvalView.model_fields)))
    return Facts(classes=recognizer.classes, view=view, average=recognizer.average, recipe="name: toy\n")


@pytest.fixture(scope="module")
def clips(facts: Facts) -> Tensor:
    shape = (2, 2, *facts.view_shape(3))
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def folder(model: Recognizer, facts: Facts, clips: Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With ``model.onnx`` and ``model.pt2``."""
    made = tmp_path_factory.mktemp("exported")
    for suffix in SUFFIXES:
        assert export(model, facts, clips, made / f"model{suffix}") < 1e-5
    return made


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_scores_videos_as_its_model_does(
    folder: Path, suffix: str, recognizer: VideoRecognizer, toy_videos: Path
) -> None:
    loaded = load_recognizer(folder / f"model{suffix}")
    video = toy_videos / "val-rising-0.mp4"
    expected = recognizer.recognize(video).scores
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(loaded.recognize(video).scores, expected, atol=1e-5)
    assert (loaded.classes, loaded.average, loaded.recipe) == (CLASSES, "score", None)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_number_of_videos_and_views(folder: Path, suffix: str, model: Recognizer, clips: Tensor) -> None:
    opened = open_exported(folder / f"model{suffix}", CPU)
    with torch.inference_mode():
        for part in (clips[:1, :1], clips[:, :1], clips.repeat(2, 3, 1, 1, 1, 1)):
            torch.testing.assert_close(opened(part), model(part), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_holds_its_facts_and_nothing_of_this_machine(folder: Path, suffix: str, facts: Facts) -> None:
    path = folder / f"model{suffix}"
    assert open_exported(path, CPU).facts == facts
    places = {str(Path(__file__).parents[3]).encode(), str(folder).encode(), b"site-packages"}
    contents = [path.read_bytes()]
    if suffix == ".pt2":
        with zipfile.ZipFile(path) as archive:
            contents = [archive.read(name) for name in archive.namelist()]
    assert not [place for place in places for content in contents if place in content]


def test_a_uri_is_fetched(folder: Path, clips: Tensor) -> None:
    assert open_exported(f"file://{folder}/model.onnx", CPU)(clips).shape == (2, 2, 3)
    with pytest.raises(CheckpointError, match=r"other\.onnx: cannot be fetched"):
        open_exported(f"file://{folder}/other.onnx", CPU)


def test_other_names_for_the_classes(folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("eins\nzwei\ndrei\n")
    assert load_recognizer(folder / "model.onnx", labels=labels).classes == ("eins", "zwei", "drei")
    labels.write_text("eins\n")
    with pytest.raises(DataError, match="names 1 classes, the model scores 3"):
        load_recognizer(folder / "model.onnx", labels=labels)


def test_the_suffix_says_what_it_is() -> None:
    assert [is_exported(name) for name in ("a.onnx", "s3://b/c.pt2", "a.pth", "run")] == [True, True, False, False]
    with pytest.raises(ConfigError, match=r"got 'a\.pth'; it should end with \.onnx or \.pt2"):
        check_target(Path("a.pth"))


def test_what_onnx_needs_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None)
    with pytest.raises(ResourceError, match=r"needs onnx, onnxscript, onnxruntime.*pip install 'kinoray\[onnx\]'"):
        check_target(Path("a.onnx"))
    with pytest.raises(ResourceError, match="needs onnxruntime"):
        open_exported(folder / "model.onnx", CPU)
    check_target(Path("a.pt2"))


def test_a_device_that_onnxruntime_lacks(folder: Path) -> None:
    with pytest.raises(ResourceError, match="onnxruntime, got device xpu"):
        open_exported(folder / "model.onnx", torch.device("xpu"))


def test_a_file_that_computes_otherwise_is_not_written(
    model: Recognizer, facts: Facts, clips: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.pt2").write_text("an earlier one")
    monkeypatch.setattr(files, "MAX_DIFFERENCE", -1.0)
    with pytest.raises(CheckpointError, match=r"not written.*try the other of \.onnx and \.pt2") as told:
        export(model, facts, clips, tmp_path / "model.pt2")
    assert told.value.at_work
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"model.pt2": "an earlier one"}


class ByValue(Recognizer):
    """Looks at numbers to decide what to compute."""

    def forward_features(self, clips: Tensor) -> Tensor:
        return clips if clips.sum() > 0 else -clips

    def forward_head(self, features: Tensor) -> Tensor:
        return features.mean(dim=(2, 3, 4))

    def head(self) -> torch.nn.Module:
        return self


def test_a_model_that_torch_cannot_export(facts: Facts, clips: Tensor, tmp_path: Path) -> None:
    by_value = ByValue(num_classes=3, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)).eval()
    with pytest.raises(ConfigError, match=r"model\.onnx: torch cannot export ByValue: "):
        export(by_value, facts, clips, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_no_such_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    with pytest.raises(CheckpointError, match="no such file"):
        load_recognizer(path)
    path.write_bytes(b"not at all" * 99)
    with pytest.raises(CheckpointError, match=r"can(not)? open"):
        load_recognizer(path)


def test_files_of_others_lack_the_facts(folder: Path, tmp_path: Path) -> None:
    stranger = onnx.load(folder / "model.onnx")
    del stranger.metadata_props[:]
    onnx.save(stranger, tmp_path / "model.onnx")
    _changed(folder / "model.pt2", tmp_path / "model.pt2", lambda members: members.pop(f"model/extra/{KEY}"))
    for suffix in SUFFIXES:
        with pytest.raises(CheckpointError, match=rf"file without {KEY}.*give one that jobs/export.py wrote"):
            load_recognizer(tmp_path / f"model{suffix}")


def test_facts_that_cannot_be_read() -> None:
    with pytest.raises(CheckpointError, match=r"a\.onnx: the facts in it .*, classes: Field required"):
        Facts.read('{"average": "score"}', "a.onnx")
    with pytest.raises(CheckpointError, match="the text: Invalid JSON"):
        Facts.read("{", "a.onnx")


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.mkdir, (self.folder,)


def _changed(source: Path, target: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """A .pt2 with other members."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


@pytest.mark.parametrize("place", ["sample_inputs", "SAMPLE_INPUTS", "weights", "older"])
def test_pickles_in_a_program_are_refused(folder: Path, tmp_path: Path, place: str) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"), protocol=2)

    def arm(members: dict[str, bytes]) -> None:
        if place.lower() == "sample_inputs":
            del members["model/data/sample_inputs/model.pt"]
            members[f"model/data/{place}/model.pt"] = bomb
        elif place == "weights":
            config = json.loads(members["model/data/weights/model_weights_config.json"])
            next(iter(config["config"].values()))["use_pickle"] = True
            members["model/data/weights/model_weights_config.json"] = json.dumps(config).encode()
            members["model/data/weights/weight_0"] = bomb
        else:
            members |= {"version": b"8.14", "serialized_state_dict.pt": bomb}

    path = _changed(folder / "model.pt2", tmp_path / "model.pt2", arm)
    with pytest.raises(CheckpointError, match=r"pickled|torch can open|laid out"):
        load_recognizer(path)
    assert not (tmp_path / "exploded").exists()
    untouched = _changed(folder / "model.pt2", tmp_path / "model.pt2", lambda members: None)
    assert load_recognizer(untouched).classes == CLASSES
