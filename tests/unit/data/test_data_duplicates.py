"""Rows that show the same footage, in one list and across lists."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from kinoray.data.duplicates import Footage, find_duplicates, list_name
from kinoray.data.fingerprints import NUM_TIMES, SIDE
from kinoray.errors import DataError


def shown(footage, noise=0):
    """The fingerprint of some footage."""
    levels = np.random.default_rng(footage).uniform(20, 220, (NUM_TIMES, SIDE * SIDE)).repeat(2, 0)[:NUM_TIMES]
    return (
        (levels + noise * np.random.default_rng([footage, 1]).standard_normal(levels.shape)).astype(np.uint8).tobytes()
    )


def listed(name, *rows):
    """Rows of (path, digest, fingerprint)."""
    paths, digests, fingerprints = (list(column) for column in zip(*rows, strict=True))
    ids = [f"{name}{number}" for number in range(len(rows))]
    return Footage(ids, paths, digests, fingerprints, [4.0 if content else 0.0 for content in fingerprints], name)


def told(duplicates, splits=None):
    return [tuple(row.values())[:5] for row in duplicates.table(splits).to_pylist()]


def test_exact_and_near_in_one_list():
    own = listed(
        "x",
        ("/a", "A", shown(1)),
        ("/b", "B", shown(2)),
        ("/a2", "A", shown(1)),
        ("/c", "C", shown(3)),
        ("/b2", "B2", shown(2, noise=2)),
        ("/b3", "B3", shown(2)),
    )
    found = find_duplicates(own, [])
    assert told(found) == [
        (1, "x0", "/a", "x", "exact"),
        (1, "x2", "/a2", "x", "exact"),
        (2, "x1", "/b", "x", "near"),
        (2, "x4", "/b2", "x", "near"),
        (2, "x5", "/b3", "x", "near"),
    ]
    distances = found.table(None)["distance"].to_pylist()
    assert distances[:2] == [0, 0]
    assert distances[2] == distances[4] == 0, "packed anew, not coded anew: near, for the bytes differ"
    assert 0 < distances[3] < 0.1
    assert found.kin.tolist() == [0, 1, 0, 3, 1, 1]
    assert (found.num_groups, found.leaks()) == (2, [""] * 6)


def test_what_is_known_of_copies_is_known_of_all_their_copies():
    """Fingerprints of equal files are compared once."""
    own = listed("x", ("/a", "A", shown(1)), ("/b", "B", shown(1, noise=2)), ("/a2", "A", shown(1)))
    found = find_duplicates(own, [])
    assert [row[4] for row in told(found)] == ["exact", "near", "exact"]
    assert len(set(found.kin.tolist())) == 1


def test_segments_of_one_file_are_no_duplicates():
    own = listed("x", ("/a", "A", shown(1)), ("/a", "A", shown(1)), ("/b", "B", shown(2)))
    found = find_duplicates(own, [])
    assert told(found) == []
    assert found.num_groups == 0
    assert found.kin.tolist() == [0, 0, 1], "but they belong together"
    copied = find_duplicates(own, [listed("y", ("/c", "A", shown(1)))])
    assert [row[1] for row in told(copied)] == ["x0", "x1", "y0"]


def test_leaks_into_other_lists():
    own = listed("x", ("/a", "A", shown(1)), ("/b", "B", shown(2)), ("/c", "C", shown(3)), ("/d", "D", shown(4)))
    train = listed("y", ("/t", "T", shown(2, noise=2)), ("/a", "A", shown(1)), ("/u", "U", shown(5)))
    test = listed("z", ("/u2", "U", shown(5)), ("/d", "D2", shown(6)))
    found = find_duplicates(own, [train, test])
    assert found.leaks() == ["y1", "y0", "", ""], "a file that was changed since is another one"
    assert [row[1:] for row in told(found)] == [
        ("x0", "/a", "x", "exact"),
        ("y1", "/a", "y", "exact"),
        ("x1", "/b", "x", "near"),
        ("y0", "/t", "y", "near"),
    ], "what other lists share with each other is not asked"
    assert [row[3] for row in told(found, ["train", "val", "val", "val"])] == ["train", "y", "val", "y"]


def test_videos_of_which_nothing_is_known_are_like_nothing():
    own = listed("x", ("/a", "", b""), ("/b", "", b""), ("/c", "C", b""), ("/d", "C", b""))
    assert [row[1] for row in told(find_duplicates(own, []))] == ["x2", "x3"], "damaged files may be equal"


def test_passwords_are_not_shown():
    own = listed("x", ("s3://b/a?secret_key=1", "A", shown(1)), ("s3://b/b?secret_key=1", "A", shown(1)))
    assert [row[2] for row in told(find_duplicates(own, []))] == ["s3://b/a?secret_key=***", "s3://b/b?secret_key=***"]


def test_a_list_that_was_not_prepared(tmp_path):
    with pytest.raises(DataError, match=r"--against .*: got what holds no fingerprints \(.*manifest.parquet: no such"):
        Footage.read(str(tmp_path))
    (tmp_path / "list.csv").write_text("path,label\na.mp4,1\n")
    with pytest.raises(DataError, match=r"no fingerprints .*it should be the OUTPUT of jobs/prepare\.py"):
        Footage.read(str(tmp_path / "list.csv"))


@pytest.mark.parametrize("unknown", ["content_digest", "fingerprint"])
def test_a_list_of_which_fingerprints_are_missing(tmp_path, unknown):
    """Nothing would be like it, and its leaks pass for none."""
    rows = {"video_id": ["x", "y"], "source_path": ["/x", "/y"], "num_frames": [9, None], "fps": [3.0, None]}
    rows |= {"content_digest": ["X", None], "error": ["", "/y: gone"]}
    prints = {"source_path": ["/x", "/y"], "fingerprint": pa.array([shown(1), None], pa.binary())}
    parquet.write_table(pa.table(rows), tmp_path / "manifest.parquet")
    parquet.write_table(pa.table(prints), tmp_path / "fingerprints.parquet")
    assert Footage.read(str(tmp_path)).digests == ["X", ""], "of a bad video nothing need be known"
    column = pa.array([None, None], pa.string() if unknown == "content_digest" else pa.binary())
    name, table = ("manifest", rows) if unknown == "content_digest" else ("fingerprints", prints)
    parquet.write_table(pa.table(table | {unknown: column}), tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match=r"no fingerprints \(1 of its 2 rows, as after --no-fingerprints\)"):
        Footage.read(str(tmp_path))


def test_lists_are_called_after_their_folder():
    assert [list_name(place) for place in ("/x/train", "/x/val/", "s3://b/val?region=x")] == ["train", "val", "val"]
