import csv
import io
import time
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
from matplotlib.image import imread

from kinoray.data.manifest import Manifest, load_manifest
from kinoray.data.reading import ClipReader
from kinoray.data.views import EvalView
from kinoray.recipe import Recipe
from kinoray.tracking.mistakes import NUM_CLIPS, mistake_files, read_mistakes, scored_frames
from kinoray.train.events import Mistake

VIEW = EvalView.model_validate({"sampling": {"clip_len": 8, "frame_interval": 1}, "crop": 32})


@pytest.fixture
def manifest(toy_recipe: Callable[..., Recipe]) -> Manifest:
    recipe = toy_recipe()
    return load_manifest(recipe.data.train.source, recipe.data.class_names(), split="val")


def mistakes_of(manifest: Manifest, num_mistakes: int) -> list[Mistake]:
    rows = manifest.table.slice(0, num_mistakes).to_pylist()
    return [
        Mistake(place, row["video_id"], row["path"], (row["label"],), (row["label"] + 1) % 3, 0.9, 0.05)
        for place, row in enumerate(rows)
    ]


def rows_of(table: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.decode())))


def with_path(manifest: Manifest, place: int, path: str) -> Manifest:
    paths = manifest.table["path"].to_pylist()
    paths[place] = path
    column = manifest.table.schema.get_field_index("path")
    return replace(manifest, table=manifest.table.set_column(column, "path", pa.array(paths, pa.string())))


def test_the_worst_become_a_table_a_picture_and_clips(manifest: Manifest) -> None:
    files = mistake_files(mistakes_of(manifest, 3), manifest, VIEW)
    rows = rows_of(files["mistakes.csv"])
    clips = [row["clip"] for row in rows]
    assert set(files) == {"mistakes.csv", "mistakes.png", *clips}
    classes = manifest.classes
    labels = manifest.table["label"].to_pylist()
    for place, row in enumerate(rows):
        true, predicted = classes[labels[place]], classes[(labels[place] + 1) % 3]
        assert (row["true"], row["predicted"]) == (true, predicted)
        assert (row["confidence"], row["true_confidence"]) == ("0.9000", "0.0500")
        assert row["clip"] == f"mistakes/{place + 1:02}-{true}-as-{predicted}.gif"
        with av.open(BytesIO(files[row["clip"]])) as container:
            assert sum(1 for _ in container.decode(video=0)) == 8
    assert min(imread(BytesIO(files["mistakes.png"])).shape[:2]) > 300


def test_a_clip_shows_the_frames_that_were_scored(manifest: Manifest) -> None:
    """The centre crop of the middle clip, at the scale of the view that was scored."""
    sampling = {"clip_len": 4, "frame_interval": 1, "num_clips": 3}
    view = EvalView.model_validate({"sampling": sampling, "crop": 24, "num_crops": 3, "pixels": "yuv420"})
    (seen,) = read_mistakes(mistakes_of(manifest, 1), manifest, view, seconds=20)
    (row,) = manifest.table.slice(0, 1).to_pylist()
    scored = ClipReader(view.model_copy(update={"pixels": "rgb"}))({**row, "position": 0, "clip_seed": 0})["clip"]
    crops = scored.reshape(3, 3, *scored.shape[1:])
    assert seen.pictures is not None
    assert any(np.array_equal(seen.pictures, crop) for crop in crops[1])
    assert not np.array_equal(seen.pictures, crops[0, 0])


def test_clips_of_single_frames_are_shown_one_after_the_other() -> None:
    segments = np.arange(25, dtype=np.uint8)[:, None, None, None, None] * np.ones((1, 1, 8, 8, 3), np.uint8)
    assert scored_frames(segments)[:, 0, 0, 0].tolist() == list(range(25))
    dense = np.arange(64, dtype=np.uint8)[None, :, None, None, None] * np.ones((1, 1, 8, 8, 3), np.uint8)
    shown = scored_frames(dense)[:, 0, 0, 0].tolist()
    assert (len(shown), shown[0], shown[-1]) == (32, 0, 63)


def test_the_next_mistake_takes_the_place_of_one_that_cannot_be_read(manifest: Manifest) -> None:
    manifest = with_path(manifest, 1, "/no/such/video.mp4")
    rows = rows_of(mistake_files(mistakes_of(manifest, NUM_CLIPS + 3), manifest, VIEW)["mistakes.csv"])
    shown = [row["clip"].endswith(".gif") for row in rows]
    assert shown == [True, False, *[True] * (NUM_CLIPS - 1), False, False]
    assert "/no/such/video.mp4" in rows[1]["clip"]
    assert rows[-1]["clip"] == ""


def test_where_no_video_can_be_read_the_table_says_why(
    manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mistakes = mistakes_of(manifest, 2)
    for place in (0, 1):
        manifest = with_path(manifest, place, str(tmp_path / f"{place}.mp4"))
    files = mistake_files(mistakes, manifest, VIEW)
    assert set(files) == {"mistakes.csv"}
    assert all("no such file" in row["clip"] for row in rows_of(files["mistakes.csv"]))
    assert "the worst mistakes are not shown" in caplog.text


def test_storage_that_does_not_answer_costs_only_the_time_that_there_is(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ClipReader.__call__

    def hang_at_the_second(self: ClipReader, row: dict[str, object]) -> object:
        if row["video_id"] == manifest.table["video_id"][1].as_py():
            time.sleep(5)
        return read(self, row)

    monkeypatch.setattr(ClipReader, "__call__", hang_at_the_second)
    begin = time.monotonic()
    seen = read_mistakes(mistakes_of(manifest, 4), manifest, VIEW, seconds=1)
    assert time.monotonic() - begin < 3
    assert [found.pictures is not None for found in seen] == [True, False, False, False]
    assert seen[-1].reason == "not read: 1 seconds were over"


@pytest.mark.parametrize("failing", ["read_mistakes", "gif_bytes", "strips_picture"])
def test_nothing_that_fails_here_ends_a_run(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failing: str
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("what nobody thought of")

    monkeypatch.setattr(f"kinoray.tracking.mistakes.{failing}", fail)
    assert mistake_files(mistakes_of(manifest, 1), manifest, VIEW) == {}
    assert "what nobody thought of" in caplog.text


def test_an_evaluation_without_mistakes_has_no_files(manifest: Manifest) -> None:
    assert mistake_files([], manifest, VIEW) == {}


def test_several_classes_or_none_are_named_as_such(manifest: Manifest) -> None:
    first, second = mistakes_of(manifest, 2)
    several = [replace(first, labels=(0, 2)), replace(second, labels=(), label_confidence=0.0)]
    files = mistake_files(several, manifest, VIEW)
    names = manifest.classes
    assert [row["true"] for row in rows_of(files["mistakes.csv"])] == [f"{names[0]} + {names[2]}", "none"]
