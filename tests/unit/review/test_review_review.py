"""The page as a whole, of real videos and hostile names."""

import json
import re
from html.parser import HTMLParser

import pytest

from kinoray.data.rows import VideoFacts
from kinoray.errors import DataError
from kinoray.predict.table import Outcome
from kinoray.review.markup import clock, percent, text
from kinoray.review.pictures import noted_view
from kinoray.review.review import Wanted, review

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202e.mp4"
VOID = {"meta", "img", "link", "br"}
WANTED = Wanted(max_thumbnails=6, per_class=2, max_clips=2)


class Page(HTMLParser):
    """Checks that elements close as they open, and collects what is in them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words += data

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def hostile(write_shards, scored, toy_videos, tmp_path):
    """Three videos that are there, one that is not, one that was not scored; hostile names in all places."""
    paths = sorted(toy_videos.rglob("*.mp4"))[:3]
    rows = [scored(f"{HOSTILE}{number}", [0.9, 0.1, 0], uri=str(path)) for number, path in enumerate(paths)]
    rows.append(scored("gone", [0.2, 0.8, 0], uri=f"/nowhere/{HOSTILE}"))
    rows.append(Outcome("bad", "bad.mp4", "", 1, "corrupt", f"bad.mp4: {HOSTILE}", VideoFacts()))
    manifest = tmp_path / "labels.jsonl"
    listed = [{"path": str(paths[0]), "label": "jump"}, {"path": str(paths[1]), "label": HOSTILE}]
    manifest.write_text("\n".join(json.dumps(row) for row in listed))
    return write_shards([rows]), str(manifest)


def test_nothing_of_a_name_becomes_markup(hostile):
    output, manifest = hostile
    done = review(output, WANTED, labels=manifest, classes=None)
    page = Page(done.page)
    assert not page.of("script")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all(image["src"].startswith("data:image/webp;base64,") and image["alt"] for image in page.of("img"))
    assert all(link["href"].startswith("#") for link in page.of("a"))
    anchors = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {link["href"][1:] for link in page.of("a")} <= anchors
    assert "\u202e" not in done.page
    assert not re.search(r"url\(|@import|https?:", done.page)
    assert "default-src 'none'" in page.of("meta")[1]["content"]
    assert HOSTILE.replace("\u202e", "\ufffd") in page.words


def test_what_cannot_be_read_has_its_reason_in_its_place(hostile):
    output, manifest = hostile
    done = review(output, WANTED, labels=manifest, classes=None)
    page = Page(done.page)
    assert (done.num_pictures, done.num_without) == (5, 1)
    assert page.words.count("no such file") == 2  # among the unsure, and in its class
    assert "corrupt" in page.words
    (clip,) = page.of("video")
    assert clip["src"].startswith("data:video/mp4;base64,")
    assert {"controls", "muted", "aria-label"} <= set(clip)
    assert "1 of 2 labelled videos are taken for another class" in page.words
    late = review(output, Wanted(seconds=0), labels=None, classes=None)
    assert late.num_without == late.num_pictures == 4


def test_the_same_predictions_give_the_same_page(hostile):
    output, manifest = hostile
    pages = {review(output, WANTED, labels=manifest, classes=None).page for _ in range(2)}
    assert len(pages) == 1


def test_no_more_pictures_than_wanted(hostile):
    output, manifest = hostile
    for most in (0, 1, 3):
        done = review(output, Wanted(max_thumbnails=most, max_clips=0), labels=manifest, classes=None)
        page = Page(done.page)
        assert len(page.of("figure")) <= most
        assert not page.of("video")


def test_labels_of_other_videos_are_refused(hostile, tmp_path):
    output, _ = hostile
    (tmp_path / "other.csv").write_text("path,label\n/other.mp4,run\n")
    with pytest.raises(DataError, match="lists none of the 5 videos"):
        review(output, WANTED, labels=str(tmp_path / "other.csv"), classes=None)


def test_windows_show_their_times(write_shards, scored, toy_videos):
    path = str(next(toy_videos.rglob("*.mp4")))
    bad = Outcome("w", path, "", 1, "corrupt", "w", VideoFacts(), start_seconds=3600.0, end_seconds=3601.5)
    output = write_shards(
        [[scored("w", [0.9, 0.1, 0], uri=path, start_seconds=0.0, end_seconds=0.2), bad]], with_times=True
    )
    words = Page(review(output, WANTED, labels=None, classes=None).page).words
    assert "0:00.0 – 0:00.2" in words
    assert "1:00:00.0 – 1:00:01.5" in words
    assert "Windows" in words


def test_many_classes_are_a_list_of_pairs_instead_of_a_matrix(write_shards, scored, tmp_path):
    output = write_shards([[scored(str(number), [0.9, 0.1, 0]) for number in range(40)]])
    manifest = tmp_path / "labels.csv"
    manifest.write_text("video_id,path,label\n" + "".join(f"{n},/{n}.mp4,class {n}\n" for n in range(40)))
    page = Page(review(output, Wanted(max_thumbnails=0, max_clips=0), labels=str(manifest), classes=None).page)
    assert "Confusion matrix" not in page.words
    assert "Most often confused" in page.words
    assert "41 classes as a table" in page.words


def test_views_of_user_code_are_not_imported():
    view = {"sampling": {"kind": "clips", "clip_len": 4, "frame_interval": 2, "num_clips": 3}, "crop": 56}
    found = noted_view({"view": view})
    assert found is not None
    assert found.sampling.shape(is_training=False) == (3, 4)
    assert noted_view({"view": {**view, "sampling": {"kind": "antigravity:Fly"}}}) is None
    assert noted_view({"view": {**view, "sampling": {"kind": "unheard of"}}}) is None
    assert noted_view({}) is None


def test_figures_read_as_people_write_them():
    assert [percent(value) for value in (0, 1e-4, 0.004, 0.5, 0.996, 0.99999, 1)] == [
        *("0%", "<0.1%", "0.4%", "50%", "99.6%", ">99.9%", "100%")
    ]
    assert [clock(value) for value in (0, 59.96, 61.25, 3725.5)] == ["0:00.0", "1:00.0", "1:01.2", "1:02:05.5"]
    assert text("a\x00<b>") == "a\ufffd&lt;b&gt;"
