"""Lists lead nowhere but where they may: no way out of the root, and from a store to no file of this machine."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from kinoray.data.annotations_lists import VideoListSource
from kinoray.data.annotations_skeletons import SkeletonSource
from kinoray.data.annotations_splits import Hmdb51Source
from kinoray.data.manifest import load_manifest
from kinoray.data.paths import climbs, rooted
from kinoray.data.sources import ManifestSource
from kinoray.errors import DataError
from kinoray.predict.listing import list_videos

LOCAL, REMOTE = "lists/train.csv", "s3://bucket/train.csv"


def refusal(act, *arguments):
    with pytest.raises(DataError) as caught:
        act(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def root_paths(root, path, listed_in):
    return rooted(root, pa.chunked_array([["fine.mp4", path]]), listed_in, lambda number: f"row {number + 1}")


@pytest.mark.parametrize("listed_in", [LOCAL, REMOTE])
@pytest.mark.parametrize("root", ["videos", "/data", "s3://bucket/videos"])
@pytest.mark.parametrize("path", ["../a.mp4", "a/../../b.mp4", "..", "./../a.mp4", "a/b/../../../c.mp4#bytes=0-9"])
def test_no_path_leads_out_of_the_root(root, path, listed_in):
    told = refusal(root_paths, root, path, listed_in)
    assert told.startswith(
        f"{listed_in}, row 2: a path, got '{path}', which leads out of {root}; set the source's root"
    )


@pytest.mark.parametrize("path", ["%2e%2e/a.mp4", ".%2E/a.mp4", "a/%2e./../b.mp4"])
def test_web_servers_read_more_as_a_way_up(path):
    assert "leads out of https://host/videos" in refusal(root_paths, "https://host/videos", path, REMOTE)
    assert root_paths("videos", "%2e%2e/a.mp4", LOCAL)[1].as_py() == "videos/%2e%2e/a.mp4", "the name of a folder"


@pytest.mark.parametrize("path", ["a/../b.mp4", "..a/b.mp4", "a../b.mp4", "a...mp4", "a/..b.mp4"])
def test_what_stays_below_is_fine(path):
    assert root_paths("videos", path, REMOTE)[1].as_py() == f"videos/{path}"
    assert not climbs(path)


@pytest.mark.parametrize("path", ["/etc/passwd", "file:///etc/passwd", "FILE:///etc/passwd", "file:/etc/passwd"])
@pytest.mark.parametrize("root", ["videos", "s3://bucket/videos"])
@pytest.mark.parametrize("listed_in", [REMOTE, "https://host/list.csv", "gs://bucket/list.csv?anonymous=true"])
def test_a_list_of_a_store_names_no_file_of_this_machine(root, path, listed_in):
    told = refusal(root_paths, root, path, listed_in)
    assert told.startswith(f"{listed_in}, row 2: a path, got '{path}', a file of this machine in a list from elsewhere")


def test_a_list_of_this_machine_may():
    for path in ("/abs/a.mp4", "file:///abs/a.mp4", "s3://other/a.mp4"):
        assert root_paths("videos", path, LOCAL)[1].as_py() == path
        assert root_paths("videos", path, "file:///lists/train.csv")[1].as_py() == path


def test_other_stores_may_be_named_from_anywhere():
    assert root_paths("videos", "s3://other/a.mp4", REMOTE)[1].as_py() == "s3://other/a.mp4"
    assert root_paths("videos", "a/file:///etc/passwd", REMOTE)[1].as_py() == "videos/a/file:///etc/passwd"


def test_messages_hold_no_secret():
    told = refusal(root_paths, "s3://KEY:c4nary@bucket", "../a.mp4", "s3://KEY:c4nary@bucket/list.csv")
    assert "c4nary" not in told
    assert "leads out of s3://***@bucket" in told


def test_the_row_of_a_manifest_is_named_as_it_stands_in_the_file(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("path,label,fold\na.mp4,x,1\nb.mp4,x,2\n../c.mp4,x,2\n")
    assert "m.csv, row 3: a path, got '../c.mp4'" in refusal(ManifestSource(path=str(path), where={"fold": (2,)}).read)
    assert ManifestSource(path=str(path), where={"fold": (1,)}).read().num_rows == 1


def test_the_line_of_a_list_is_named(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a.mp4 0\n\nb/../../c.mp4 1\n")
    told = refusal(VideoListSource(root="videos", path=str(path)).read)
    assert "list.txt, line 3: a path, got 'b/../../c.mp4', which leads out of videos" in told


def test_the_line_of_a_filtered_list_is_named(tmp_path):
    source = Hmdb51Source(root="videos", annotations=str(tmp_path), split="test")
    (tmp_path / "wave_test_split1.txt").write_text("a.avi 1\nb.avi 2\nc.avi 0\n../../d.avi 2\n")
    assert "wave_test_split1.txt, line 4: a path, got 'wave/../../d.avi'" in refusal(source._read_class, "wave")


def test_a_prediction_s_list_is_held_to_it(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("path\na.mp4\n../b.mp4\n")
    assert f"{path}, row 2: a path, got '../b.mp4'" in refusal(lambda: list(list_videos(str(path))))


@pytest.mark.parametrize("name", ["../outside", "/etc/outside"])
def test_names_in_a_pickle_lead_nowhere_else(tmp_path, name):
    path = tmp_path / "skeletons.pkl"
    path.write_bytes(pickle.dumps([{"frame_dir": name, "label": 0, "keypoint": np.zeros((1, 2, 17, 2))}]))
    told = refusal(SkeletonSource(path=str(path), root=str(tmp_path / "root")).read)
    assert f"annotation 1 is not of a skeleton (its name, got '{name}', leads out of {tmp_path}/root)" in told


def test_links_are_followed(tmp_path):
    """Data sets are often made of links to a shared disk; whoever made them may read what they lead to."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/a.mp4").write_bytes(b"video")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.mp4").symlink_to(tmp_path / "shared/a.mp4")
    (tmp_path / "set/m.csv").write_text("path,label\na.mp4,x\n")
    (path,) = ManifestSource(path=str(tmp_path / "set/m.csv")).read()["path"].to_pylist()
    assert Path(path).read_bytes() == b"video"


def test_ids_of_any_list_are_shown(tmp_path):
    address, shown = "https://host/a.mp4?sig=c4nary", "https://host/a.mp4?sig=***"
    (tmp_path / "list.txt").write_text(f"{address} 0\nb.mp4 0\n")
    source = VideoListSource(root="videos", path=str(tmp_path / "list.txt"))
    assert load_manifest(source, None, split="val").table["video_id"].to_pylist() == [shown, "b.mp4"]
    (tmp_path / "list.csv").write_text(f"path\n{address}\n/b.mp4\n")
    assert [(each.video_id, each.uri) for each in list_videos(str(tmp_path / "list.csv"))] == [
        (shown, address), ("/b.mp4", "/b.mp4"),
    ]  # fmt: skip


def test_signed_addresses_are_rows_whose_secrets_are_not_shown(tmp_path):
    address = "https://host/a.mp4?id=7&X-Amz-Signature=c4nary"
    (tmp_path / "m.csv").write_text(f"path,label\n{address},x\nb.mp4,y\n")
    manifest = load_manifest(ManifestSource(path=str(tmp_path / "m.csv")), None, split="train")
    assert manifest.table["path"][0].as_py() == address, "it is what is read"
    shown = "https://host/a.mp4?id=7&X-Amz-Signature=***"
    assert manifest.table["video_id"].to_pylist() == [shown, "b.mp4"]
    assert manifest.shown_paths(np.array([1, 0])) == [f"{tmp_path}/b.mp4", shown]
    assert manifest.path_of(shown) == shown
