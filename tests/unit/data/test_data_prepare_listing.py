"""What is asked of a source before its videos are prepared."""

import json

import pytest

from kinoray.data.prepare import read_listing
from kinoray.errors import ConfigError, DataError


@pytest.mark.parametrize("ids", [["x", None], ["x", "x"]])
def test_ids_that_training_would_refuse_are_told_before_anything_is_done(tmp_path, ids):
    listed = tmp_path / "list.jsonl"
    rows = [{"video_id": name, "path": f"/v/{number}.mp4", "label": "a"} for number, name in enumerate(ids)]
    listed.write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(DataError, match=r"list\.jsonl: .*give each row its own"):
        read_listing(str(listed))


def test_a_source_can_be_written_as_in_a_recipe(tmp_path):
    listed = tmp_path / "list.csv"
    listed.write_text("path,name\nset/a/one.mp4,jump\n")
    listing = read_listing(f"{{kind: manifest, path: {listed}}}", ["source.label_column=name"])
    assert listing["label"].to_pylist() == ["jump"]
    assert listing["path"].to_pylist() == [str(tmp_path / "set/a/one.mp4")]
    with pytest.raises(ConfigError, match="optimizer: no such field"):
        read_listing(str(listed), ["optimizer.lr=1"])
