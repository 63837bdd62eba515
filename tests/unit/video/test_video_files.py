import logging
import os
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from kinoray.errors import DecodeError
from kinoray.video.decode import VideoReader
from kinoray.video.files import open_video_file


def reason_of(path):
    with pytest.raises(DecodeError) as caught:
        open_video_file(path)
    assert path in str(caught.value)
    return caught.value.reason


def test_local_paths_stay_paths(movie):
    assert open_video_file(movie) == movie
    assert open_video_file(f"file://{movie}") == movie


def test_odd_names(movie, tmp_path, indices_of):
    path = tmp_path / "a b#1%20: concat|x.mp4"
    path.write_bytes(Path(movie).read_bytes())
    with VideoReader(str(path)) as video:
        assert indices_of(video.read([9])) == [9]
    assert open_video_file(path.as_uri()) == str(path)


def test_local_failures(tmp_path):
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert reason_of(str(tmp_path / "none.mp4")) == "missing"
    assert reason_of(str(empty)) == "empty"
    assert reason_of(str(tmp_path)) == "unreadable"
    assert reason_of("nowhere://bucket/key.mp4") == "unreadable"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = tmp_path / "secret.mp4"
    path.write_bytes(b"1")
    path.chmod(0)
    assert reason_of(str(path)) == "denied"


@pytest.fixture
def bucket(monkeypatch):
    """An S3 bucket of this machine, for boto3 and for pyarrow."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    bucket = boto3.resource("s3").create_bucket(Bucket="videos")
    yield bucket
    server.stop()


def test_s3(bucket, movie, indices_of):
    for key in ("k400/movie.mp4", "a b#1%20+c.mp4"):
        bucket.upload_file(movie, key)
        with VideoReader(f"s3://videos/{key}") as video:
            assert indices_of(video.read([33, 2])) == [33, 2]
            assert video.name == f"s3://videos/{key}"
    bucket.put_object(Key="empty.mp4", Body=b"")
    assert reason_of("s3://videos/empty.mp4") == "empty"
    assert reason_of("s3://videos/none.mp4") == "missing"
    assert reason_of("s3://nobody/none.mp4") == "missing"
