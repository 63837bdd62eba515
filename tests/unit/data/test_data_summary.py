"""The figures of a list."""

import json

import numpy as np
import pyarrow as pa
import pytest

from kinoray.data.duplicates import Footage, find_duplicates
from kinoray.data.prepare import FACTS_SCHEMA, failed
from kinoray.data.summary import Spread, read_splits, summarize
from kinoray.errors import DecodeError


def file_of(name, **known):
    video = {"path": name, "source_path": name, "num_frames": 50, "fps": 25.0, "width": 320, "height": 240}
    video |= {"codec": "h264", "num_bytes": 1000, "fingerprint": None, "error_reason": "", "error": ""}
    return dict.fromkeys(FACTS_SCHEMA.names) | video | known


@pytest.fixture
def summary():
    rows = [
        file_of("/a"),
        file_of("/b", codec="vp9", fps=30000 / 1001, width=100, height=180),
        file_of("/c", num_frames=100, num_bytes=4000, fingerprint=b""),
        failed("/d", DecodeError("/d: gone", "missing")),
        failed("/e", "the process died"),
        failed("/f", ValueError("odd")),
    ]
    facts = pa.Table.from_pylist(rows, schema=FACTS_SCHEMA)
    ids = [str(number) for number in range(7)]
    paths = ["/a", "/b", "/c", "/d", "/e", "/f", "/a"]
    own = Footage(ids, paths, ["A", "B", "B", "", "", "", "A"], [b""] * 7, [0.0] * 7, "x")
    duplicates = find_duplicates(own, [Footage(["o"], ["/o"], ["A"], [b""], [0.0], "y")])
    classes = [("jump",)] * 5 + [("run", "jump"), ("run",)]
    return summarize(facts, classes, duplicates, ["train"] * 4 + ["val"] * 3)


def test_files_are_counted_once_and_bad_ones_by_reason(summary):
    assert (summary.num_rows, summary.num_files, summary.num_frames, summary.num_bytes) == (7, 6, 200, 6000)
    assert summary.hours == pytest.approx((2 + 50 * 1.001 / 30 + 4) / 3600)
    assert summary.reasons == {"ValueError": 1, "crashed": 1, "missing": 1}
    assert summary.num_damaged == 1
    assert summary.codecs == {"h264": 2, "vp9": 1}
    assert summary.fps == {"25": 2, "29.97": 1}
    assert summary.short_sides == {"240": 2, "100": 1}


def test_classes_splits_and_duplicates(summary):
    assert summary.classes == {"jump": 6, "run": 2}
    assert (summary.imbalance, summary.small_classes) == (3, {"jump": 6, "run": 2})
    assert summary.splits == {"train": {"jump": 4}, "val": {"jump": 2, "run": 2}}
    assert summary.split_rows == {"train": 4, "val": 3}, "a row of two classes is one row"
    assert (summary.num_exact, summary.num_near, summary.num_duplicate_groups, summary.num_leaks) == (4, 0, 2, 2)


def test_as_a_file(summary):
    read = json.loads(summary.to_json())
    assert read["classes"] == {"jump": 6, "run": 2}
    assert read["duration_seconds"]["most"] == 4
    assert read_splits(summary.to_json()) == {"train.parquet", "val.parquet"}


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"splits": {"../../x": {}}}'])
def test_splits_of_no_earlier_run(content):
    assert read_splits(content) == set()


def test_spread_counts_every_value():
    values = np.array([0.033, 1, 2, 2, 90])
    spread = Spread.of(values)
    assert (spread.least, spread.median, spread.most) == (0.033, 2, 90)
    assert sum(spread.counts) == 5
    assert (spread.edges[0], spread.edges[-1]) == (0.033, 90)
    ratios = np.array(spread.edges[1:]) / spread.edges[:-1]
    assert ratios == pytest.approx(ratios[0])
    alike = Spread.of(np.array([3.0, 3.0]))
    assert (alike.edges, alike.counts) == ((1.5, 4.5), (2,))


@pytest.mark.parametrize("relative", [1e-15, 1e-14, 1e-12, 1e-8])
def test_figures_that_differ_by_rounding(relative):
    """Durations do: frames by a rate that was measured."""
    least = np.random.default_rng(0).uniform(0.1, 1000, 200)
    for value in least:
        assert sum(Spread.of(np.array([value, value * (1 + relative)])).counts) == 2
