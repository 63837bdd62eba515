"""What is listed: every video of a place once, in an order that does not change, frozen."""

import pytest

from kinoray.data.output import OutputFolder
from kinoray.errors import ConfigError, DataError
from kinoray.predict.listing import SHARDS_PER_PART, frozen_listing, list_videos


@pytest.fixture
def videos(tmp_path):
    root = tmp_path / "videos"
    for name in ("b.mp4", "a/2.MP4", "a/1.mkv", "a/notes.txt", "c/deep/x.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


@pytest.mark.parametrize(
    ("pattern", "ids"),
    [
        ("", ["a/1.mkv", "a/2.MP4", "b.mp4", "c/deep/x.mp4"]),
        ("/*.mp4", ["b.mp4"]),
        ("/**/*.mp4", ["b.mp4", "c/deep/x.mp4"]),
        ("/a/*", ["1.mkv", "2.MP4", "notes.txt"]),
        ("/a/[1].*", ["1.mkv"]),
        ("/b.mp4", ["b.mp4"]),
    ],
)
def test_folders_and_patterns(videos, pattern, ids):
    listed = list(list_videos(f"{videos}{pattern}"))
    assert [video.video_id for video in listed] == ids
    assert all(video.uri.startswith("/") and video.num_bytes for video in listed)


def test_a_manifest_keeps_its_order_and_ids(videos, tmp_path):
    manifest = tmp_path / "list.csv"
    manifest.write_text("video_id,path\nsecond,videos/b.mp4\nfirst,s3://bucket/x.mp4\n")
    listed = list(list_videos(str(manifest)))
    assert [(video.video_id, video.uri) for video in listed] == [
        ("second", f"{videos}/b.mp4"),
        ("first", "s3://bucket/x.mp4"),
    ]


def test_a_list_is_frozen_and_cut_into_shards(videos, tmp_path):
    for number in range(SHARDS_PER_PART * 2 + 1):
        (videos / f"n{number:03d}.mp4").write_bytes(b"x")
    output = OutputFolder(str(tmp_path / "out"))
    listing = frozen_listing(str(videos), output, shard_rows=2)
    (videos / "later.mp4").write_bytes(b"x")
    assert frozen_listing(str(videos), output, shard_rows=99) == listing
    ids = [row for number in range(listing.num_shards) for row in listing.shard(output, number)["video_id"].to_pylist()]
    assert len(ids) == listing.num_videos == SHARDS_PER_PART * 2 + 5
    assert ids == sorted(ids)
    assert listing.shard(output, listing.num_shards - 1).num_rows == 1


def test_what_cannot_be_listed_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such file"):
        list(list_videos(str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match="no videos"):
        frozen_listing(str(tmp_path), OutputFolder(str(tmp_path / "out")), shard_rows=1)
    with pytest.raises(ConfigError, match="holds a secret"):
        list(list_videos("s3://key:secret@bucket/prefix"))
