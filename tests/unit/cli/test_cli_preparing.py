"""What is asked of a preparation, and what is told of it where there is no terminal."""

import io

import pytest
from rich.console import Console

from kinoray.cli import preparing
from kinoray.cli.preparing import PreparingConsole, Request, prepare_parser, summary_lines
from kinoray.cluster.prepare import Stage
from kinoray.data.output import OutputFolder
from kinoray.data.prepared import Prepared
from kinoray.data.summary import Spread, Summary
from kinoray.errors import ConfigError, DataError


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still until it is set."""
    clock = {"seconds": 100.0}
    monkeypatch.setattr(preparing.time, "monotonic", lambda: clock["seconds"])
    return clock


def summary_of(**changed):
    spread = Spread(1.0, 2.0, 10.0, (1.0, 10.0), (13,))
    figures = {
        "num_rows": 20,
        "num_files": 20,
        "num_frames": 1300,
        "hours": 0.5,
        "num_bytes": 15_000_000,
        "num_damaged": 0,
        "reasons": {"damaged": 5, "missing": 2},
        "codecs": {"h264": 12, "vp9": 1},
        "fps": {"25": 12, "29.97": 1},
        "short_sides": {"240": 13},
        "duration_seconds": spread,
        "frames": spread,
        "file_bytes": spread,
        "classes": {"[run]": 14, "jump": 6},
        "splits": {},
        "split_rows": {},
        "num_exact": 0,
        "num_near": 0,
        "num_duplicate_groups": 0,
        "num_leaks": 0,
    }
    return Summary(**figures | changed)


def prepared(tmp_path, summary):
    return Prepared(
        output=OutputFolder(str(tmp_path / "out")),
        manifests=("out/[x]/manifest.parquet",),
        num_videos=20,
        num_kept=4,
        errors=tuple(f"[a]{number}.mp4: broken" for number in range(7)),
        source_bytes=10_000_000,
        summary=summary,
    )


def test_progress_with_rate_and_time_left(now):
    text = io.StringIO()
    with PreparingConsole(Console(file=text, width=200)) as view:
        told = [("encoding", 100, 0), ("encoding", 140, 80), ("encoding", 150, 90)]
        told += [("packing", 200, 0), ("packing", 210, 500)]
        for stage, seconds, num_done in told:
            now["seconds"] = seconds
            view(Stage(stage, num_videos=1000, num_done=num_done, num_bad=int(stage == "encoding")))
    assert text.getvalue().splitlines() == [
        "encoding 80/1,000 videos, 2.0 videos/s, 1 bad, 0:07:40 left",
        "packing 500/1,000 videos, 50.0 videos/s, 0:00:10 left",
    ]


def test_the_end(now, tmp_path):
    text = io.StringIO()
    with PreparingConsole(Console(file=text, width=300)) as view:
        now["seconds"] += 65
        view.close(prepared(tmp_path, summary_of()))
    assert [line.strip() for line in text.getvalue().splitlines()] == [
        *(f"bad [a]{number}.mp4: broken" for number in range(5)),
        "... and 2 more",
        (
            "prepared 13 of 20 videos, 4 of them by an earlier run; 7 bad (5 damaged, 2 missing), listed in "
            "bad_videos.csv; 1,300 frames, 10.0 MB became 15.0 MB (x1.50) in 0:01:05"
        ),
        "0.50 hours, 1 to 10 seconds, median 2; 25 to 29.97 fps; short side 240; h264 (12), vp9 (1)",
        "2 classes of 6 to 14 rows (1 : 2.3); 1 with fewer than 10: jump (6)",
        "data.train.source=out/[x]/manifest.parquet",
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["summary.png"]


def test_what_was_found():
    many = {f"c{number}": 1 for number in range(9)}
    lines = summary_lines(
        summary_of(
            num_damaged=3,
            num_exact=4,
            num_near=1,
            num_duplicate_groups=2,
            classes={"a": 100} | many,
            splits={"train": {"a": 80} | many, "val": {"a": 20}},
            split_rows={"train": 85, "val": 20},
        )
    )
    assert lines[1:] == [
        "10 classes of 1 to 100 rows (1 : 100.0); 9 with fewer than 10: c0 (1), c1 (1), c2 (1), c3 (1), ...",
        "3 videos open, but of their pictures many are damaged",
        "4 exact and 1 near duplicates, 2 groups of them, listed in duplicates.csv",
        "train: 85 rows of 10 classes",
        "val: 20 rows of 1 classes, none of c0, c1, c2, c3 and 5 more",
    ]


def test_a_list_without_labels():
    assert summary_lines(summary_of(classes={}))[1:] == ["0 classes"]


def test_leaks_end_the_job_when_all_is_told(tmp_path):
    text = io.StringIO()
    with PreparingConsole(Console(file=text, width=300)) as view, pytest.raises(DataError) as told:
        view.close(prepared(tmp_path, summary_of(num_leaks=3)))
    assert str(told.value).startswith("3 of 20 rows show what other lists show, see duplicates.csv; all is written")
    assert told.value.at_work
    assert "data.train.source=" in text.getvalue()


def request(*words):
    return Request(prepare_parser("").parse_args([str(word) for word in words]))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--against", "x", "--no-fingerprints"], "--against compares fingerprints, got --no-fingerprints"),
        (["--group-by", "person"], "--group-by, got no --split"),
        (["--split", "train=2"], "it should be names with shares of sum 1"),
        (["--split", ""], "it should be names with shares of sum 1"),
        (["--split", "a=0.5,b=0.5", "--group-by", "("], "--group-by"),
    ],
)
def test_what_cannot_be_asked(motion8, tmp_path, words, told):
    with pytest.raises(ConfigError, match=told):
        request(motion8 / "train.csv", tmp_path / "out", *words)


def test_groups_by_a_column_or_by_the_path(motion8, tmp_path):
    listed = tmp_path / "list.csv"
    listed.write_text("path,label,person\n/v/1.mp4,a,x\n/v/2.mp4,b,y\n")
    by_column = request(listed, tmp_path / "out", "--split", "a=0.5,b=0.5", "--group-by", "person").record()
    assert by_column._division.groups(by_column._listing) == ["x", "y"]
    by_path = request(listed, tmp_path / "out", "--split", "a=0.5,b=0.5", "--group-by", r"v/(\d)").record()
    assert by_path._division.groups(by_path._listing) == ["1", "2"]
    with pytest.raises(DataError, match="has no column 'colour'"):
        request(listed, tmp_path / "out", "--split", "a=0.5,b=0.5", "--group-by", "colour")
    assert request(listed, tmp_path / "out").num_rows == 2
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "x.mp4").write_text("")
    with pytest.raises(ConfigError, match=r"--group-by person: a column of a manifest, got .*set, which has none"):
        request(tmp_path / "set", tmp_path / "out", "--split", "a=0.5,b=0.5", "--group-by", "person")
