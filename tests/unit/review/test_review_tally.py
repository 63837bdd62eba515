import json
from dataclasses import replace

import numpy as np
import pytest

from kinoray.data.rows import VideoFacts
from kinoray.errors import DataError
from kinoray.predict.table import Outcome
from kinoray.review import tally as tally_module
from kinoray.review.labels import Labels
from kinoray.review.tally import Sizes, shards_of, tally

SIZES = Sizes(per_class=2, unsure=3, mistakes=2, unscored=2)


@pytest.fixture
def labels(tmp_path):
    manifest = tmp_path / "labels.csv"
    rows = "".join(f"{number},v{number},{'run' if number < 30 else 'sit'}\n" for number in range(40))
    manifest.write_text("video_id,path,label\n" + rows)
    return Labels.read(str(manifest), None)


def outcomes(scored):
    """The n-th of 50 videos is surer than the one before; every third is 'jump', the others are 'run'."""
    made = []
    for number in range(50):
        sure = 0.505 + number / 110
        scores = [sure, 1 - sure, 0.0] if number % 3 == 0 else [1 - sure, sure, 0.0]
        made.append(scored(str(number), scores))
    bad = [
        Outcome(f"bad {number}", "", "", 1, "corrupt" if number else "timeout", "why", VideoFacts())
        for number in range(5)
    ]
    return [*made, *bad]


@pytest.mark.parametrize("batch_rows", [3, 1000])
def test_what_is_counted_and_kept_does_not_depend_on_batches(write_shards, scored, labels, monkeypatch, batch_rows):
    monkeypatch.setattr(tally_module, "BATCH_ROWS", batch_rows)
    rows = outcomes(scored)
    output = write_shards([rows[:20], rows[20:]], top_k=2)
    total = tally(output, shards_of(output), labels, SIZES)
    assert (total.num_rows, total.num_videos, total.video_seconds) == (55, 55, 100.0)
    assert total.statuses == {"ok": 50, "corrupt": 4, "timeout": 1}
    named = {
        (true, best): total.confusion[total.number(true), total.number(best)]
        for true in ("run", "sit")
        for best in ("jump", "run")
    }
    assert named == {("run", "jump"): 10, ("run", "run"): 20, ("sit", "jump"): 4, ("sit", "run"): 6}
    assert total.num_in_top == 30
    assert total.num_unlisted == 10
    assert total.bins.sum(axis=1).tolist() == [20, 20, 10]
    assert total.predicted == {total.number("jump"): 17, total.number("run"): 33}
    assert [case.video_id for case in total.surest.of(total.number("run"))] == ["49", "47"]
    assert [case.video_id for case in total.unsure.of()] == ["0", "1", "2"]
    assert [(case.video_id, case.truth) for case in total.mistakes.of()] == [("39", "sit"), ("38", "sit")]
    assert [(row.video_id, row.status) for row in total.unscored] == [
        ("bad 1", "corrupt"),
        ("bad 2", "corrupt"),
        ("bad 0", "timeout"),
    ]
    assert total.provenance["model_id"] == {"the-model"}


def test_windows_of_a_video_are_one_video(write_shards, scored):
    windows = [scored("long", [0.6, 0.4, 0], start_seconds=s, end_seconds=s + 1) for s in (0.0, 1.0)]
    output = write_shards([windows], with_times=True)
    total = tally(output, shards_of(output), None, SIZES)
    assert (total.num_rows, total.num_videos, total.video_seconds, total.has_windows) == (2, 1, 2.0, True)
    assert [case.start_seconds for case in total.unsure.of()] == [0.0, 1.0]


def test_one_label_of_a_row_is_enough(write_shards, scored):
    output = write_shards([[scored("a", [0.9, 0.1, 0]), scored("b", [0.3, 0.3, 0.4])]], top_k=1)
    total = tally(output, shards_of(output), None, SIZES)
    assert [case.video_id for case in total.unsure.of()] == ["b", "a"]


def test_scores_that_are_no_numbers_are_counted(write_shards, scored):
    output = write_shards([[replace(scored("a", [0, 0, 0]), scores=np.full(3, np.nan, np.float32))]])
    total = tally(output, shards_of(output), None, SIZES)
    assert total.bins.sum() == 1
    assert total.unsure.of() == ()


def test_a_partial_prediction_says_how_many_are_listed(write_shards, scored):
    output = write_shards([[scored("a", [1, 0, 0])]])
    assert shards_of(output).num_listed is None
    output.write("_listing/_SUCCESS", json.dumps({"num_videos": 7}).encode())
    assert shards_of(output).num_listed == 7


def test_other_files_are_refused(write_shards, tmp_path):
    output = write_shards([])
    with pytest.raises(DataError, match="no predictions"):
        shards_of(output)
    output.write("part-000000000.parquet", b"no table")
    with pytest.raises(DataError, match="part-000000000"):
        tally(output, shards_of(output), None, SIZES)
