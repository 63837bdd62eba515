"""What is listed: every video of a place once, in an order that does not change, frozen."""

import pytest

from kinoray.data.output import OutputFolder
from kinoray.errors import ConfigError, DataError
from kinoray.predict.listing import SHARDS_PER_PART, check_listable, frozen_listing, list_videos


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
        ("/a/[!2]*", ["1.mkv", "notes.txt"]),
        ("/**/?.mp4", ["b.mp4", "c/deep/x.mp4"]),
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
    with pytest.raises(ConfigError, match=r"pattern, got '\[z-a\]'"):
        list(list_videos(f"{tmp_path}/[z-a]"))


def test_a_place_is_asked_for_a_name_until_it_was_listed(videos, tmp_path):
    output, nowhere = OutputFolder(str(tmp_path / "out")), str(tmp_path / "nowhere")
    for place in (nowhere, f"{nowhere}/**/*.mp4"):
        with pytest.raises(DataError, match=r"nowhere/?: no such file"):
            check_listable(place, output)
    with pytest.raises(ConfigError, match="holds a secret"):
        check_listable("s3://key:secret@bucket/prefix", output)
    check_listable(str(videos), output)
    assert not (tmp_path / "out").exists()
    frozen_listing(str(videos), output, shard_rows=2)
    check_listable(nowhere, output)  # what goes on needs no list any more


def test_a_pattern_without_a_folder_is_of_this_one(videos, monkeypatch):
    monkeypatch.chdir(videos)
    assert [video.video_id for video in list_videos("*.mp4")] == ["b.mp4"]
    assert [video.video_id for video in list_videos("**/*.mp4")] == ["b.mp4", "c/deep/x.mp4"]


def test_a_folder_may_be_called_like_a_pattern(tmp_path):
    folder = tmp_path / "[2020] a#b %20 é"
    folder.mkdir()
    (folder / "x?.mp4").write_bytes(b"x")
    (listed,) = list_videos(str(folder))
    assert (listed.video_id, listed.uri) == ("x?.mp4", f"{folder}/x?.mp4")


def test_links_that_lead_back_are_not_followed(videos):
    (videos / "a" / "back").symlink_to(videos)
    (videos / "aside").symlink_to(videos / "c")
    (videos / "gone.mp4").symlink_to(videos / "nowhere")
    ids = [video.video_id for video in list_videos(str(videos))]
    assert ids == ["a/1.mkv", "a/2.MP4", "aside/deep/x.mp4", "b.mp4", "c/deep/x.mp4"]


def test_what_a_prediction_writes_is_none_of_its_videos(videos):
    output = OutputFolder(str(videos))
    output.write("_job.json", b"{}")
    (videos / "_listing").mkdir()
    (videos / "_listing" / "x.mp4").write_bytes(b"x")
    listing = frozen_listing(f"{videos}/**/*", output, shard_rows=9)
    ids = listing.shard(output, 0)["video_id"].to_pylist()
    assert ids == ["a/1.mkv", "a/2.MP4", "a/notes.txt", "b.mp4", "c/deep/x.mp4"]


def test_who_lists_later_takes_what_is_frozen(videos, tmp_path, monkeypatch):
    output = OutputFolder(str(tmp_path / "out"))
    first = None

    def listed_meanwhile(place):
        nonlocal first
        monkeypatch.undo()
        first = frozen_listing(place, output, shard_rows=1)
        return list_videos(place)

    monkeypatch.setattr("kinoray.predict.listing.list_videos", listed_meanwhile)
    assert frozen_listing(str(videos), output, shard_rows=3) == first
    assert first.shard(output, 3).num_rows == 1


def test_manifests_that_cannot_be_are_told(tmp_path):
    manifest = tmp_path / "list.csv"
    for text, told in (("video_id,path\na,\n", "'path' is empty"), ("path\na.mp4\na.mp4\n", "listed 2 times")):
        manifest.write_text(text)
        with pytest.raises(DataError, match=told):
            list(list_videos(str(manifest)))


def test_one_object_of_a_bucket_is_no_prefix(monkeypatch):
    class Client:
        def get_paginator(self, _):
            return self

        def paginate(self, **wanted):
            keys = [
                key for key in ("a/x.mp4", "a/x.mp4.old.mp4", "a/", "a/y #%.mp4") if key.startswith(wanted["Prefix"])
            ]
            yield {"Contents": [{"Key": key, "Size": 1, "ETag": '"e"'} for key in keys]}

    monkeypatch.setattr("boto3.client", lambda *_, **__: Client())
    assert [video.video_id for video in list_videos("s3://bucket/a/x.mp4")] == ["x.mp4"]
    assert [video.uri for video in list_videos("s3://bucket/a/y*")] == ["s3://bucket/a/y #%.mp4"]
