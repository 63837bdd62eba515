"""Kinetics, Moments, Jester, Something-Something V2 and Diving48, on small files in the formats of their owners."""

import json

import pytest

from kinoray.data.annotations_csv import JesterSource, KineticsSource, MomentsSource
from kinoray.data.annotations_json import Diving48Source, SthV2Source
from kinoray.data.manifest import load_manifest
from kinoray.errors import DataError

KINETICS_HEADER = "label,youtube_id,time_start,time_end,split\n"
STHV2_CLASSES = {"Putting something next to something": "1", "Bending something": "0"}


def write(folder, files):
    for name, content in files.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def refusal(source):
    with pytest.raises(DataError) as caught:
        source.read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def kinetics(folder, text, **options):
    write(folder, {"train.csv": text})
    return KineticsSource(path=f"{folder}/train.csv", root="k400", **options)


def test_kinetics(tmp_path):
    text = KINETICS_HEADER + '"air drumming",-abc_12345D,7,17,train\n"playing ""oh""",xyz,1200.0,1210.0,train\n'
    read = kinetics(tmp_path, text).read()
    assert read.to_pydict() == {
        "video_id": ["-abc_12345D_000007_000017", "xyz_001200_001210"],
        "path": [
            "k400/air drumming/-abc_12345D_000007_000017.mp4",
            'k400/playing "oh"/xyz_001200_001210.mp4',
        ],
        "group": ["-abc_12345D", "xyz"],
        "label": ["air drumming", 'playing "oh"'],
    }


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"folders": "underscores"}, "k400/massaging_person's_head/xyz_000001_000011.mp4"),
        ({"folders": "none"}, "k400/xyz_000001_000011.mp4"),
        ({"folders": "none", "ending": ".webm"}, "k400/xyz_000001_000011.webm"),
        ({"folders": "names", "trimmed": False}, "k400/massaging person's head/xyz.mp4"),
    ],
)
def test_layouts_of_kinetics(tmp_path, options, path):
    source = kinetics(tmp_path, KINETICS_HEADER + "massaging person's head,xyz,1,11,val\n", **options)
    assert source.read()["path"].to_pylist() == [path]


def test_whole_videos_of_kinetics_have_segments(tmp_path):
    source = kinetics(tmp_path, KINETICS_HEADER + "a,xyz,1,11,val\nb,xyz,30,40,val\n", trimmed=False, folders="none")
    table = load_manifest(source, None, split="train").table
    assert table["path"].to_pylist() == ["k400/xyz.mp4"] * 2
    assert table["start_seconds"].to_pylist() == [1, 30]
    assert table["end_seconds"].to_pylist() == [11, 40]


def test_columns_of_kinetics_go_by_name_and_the_label_may_be_held_out(tmp_path):
    text = "split,youtube_id,time_end,time_start,is_cc\ntest,xyz,11,1,0\n"
    read = kinetics(tmp_path, text, folders="none").read()
    assert read["video_id"].to_pylist() == ["xyz_000001_000011"]
    assert read["label"].to_pylist() == [None]
    assert "columns, got split, youtube_id, time_end" in refusal(kinetics(tmp_path, text))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("b,xyz,1,11", "5 fields, got 'b,xyz,1,11'; a line should read like 'label,youtube_id,time_start,time_end,"),
        ("b, c,xyz,1,11,train", "5 fields, got 'b, c,xyz,1,11,train'"),
        ("b,xyz,one,11,train", "whole seconds, got 'b,xyz,one,11,train'; they look like 12 or 12.0"),
        ("b,x/z,1,11,train", "a youtube_id, got 'b,x/z,1,11,train'"),
        (",xyz,1,11,train", "a class, got ',xyz,1,11,train'"),
    ],
)
def test_a_wrong_line_of_kinetics_is_named(tmp_path, line, told):
    source = kinetics(tmp_path, f"{KINETICS_HEADER}a,xyz,1,11,train\n\n{line}\n")
    assert refusal(source).startswith(f"{tmp_path}/train.csv, line 4: {told}")


def test_a_kinetics_file_without_a_line_is_told(tmp_path):
    assert "it should have a header and a line per video" in refusal(kinetics(tmp_path, "\n"))


@pytest.fixture
def moments(tmp_path):
    write(
        tmp_path,
        {
            "moments_categories.txt": "yawning,1\nadult+female+singing,0\n",
            "trainingSet.csv": 'yawning/yt-a_3.mp4,yawning,4,0\n"yawning/b, c.mp4","adult+female+singing",3,1\n',
            "validationSet.csv": "yawning/v.mp4,yawning,4,0\n",
        },
    )
    return MomentsSource(root="gs://bucket/training", annotations=str(tmp_path), split="train")


def test_moments(moments, tmp_path):
    assert moments.class_names() == ("adult+female+singing", "yawning")
    assert moments.read().to_pydict() == {
        "video_id": ["yawning/yt-a_3.mp4", "yawning/b, c.mp4"],
        "path": ["gs://bucket/training/yawning/yt-a_3.mp4", "gs://bucket/training/yawning/b, c.mp4"],
        "label": ["yawning", "adult+female+singing"],
    }
    val = MomentsSource(root="v", annotations=str(tmp_path), split="val")
    assert val.read()["path"].to_pylist() == ["v/yawning/v.mp4"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("trainingSet.csv", "a.mp4\n", "trainingSet.csv, line 1: a video, its class and votes, got 'a.mp4'"),
        ("trainingSet.csv", "a.mp4,b,1,2\n", "trainingSet.csv, line 1: a class, got 'a.mp4,b,1,2'"),
        ("moments_categories.txt", "a,0\nb,0\n", "moments_categories.txt, line 2: an index, got 'b,0'"),
        ("moments_categories.txt", "a,0\nb,2\n", "moments_categories.txt, line 2: an index, got 'b,2'"),
        ("moments_categories.txt", "a\n", "moments_categories.txt, line 1: a class and its index, got 'a'"),
    ],
)
def test_a_wrong_line_of_moments_is_named(moments, tmp_path, name, text, told):
    write(tmp_path, {name: text})
    assert refusal(moments).startswith(f"{tmp_path}/{told}")


def jester(folder, split="train", **options):
    return JesterSource(root="20bn-jester-v1", annotations=str(folder), split=split, **options)


@pytest.mark.parametrize("prefix", ["", "jester-v1-"])
def test_jester(tmp_path, prefix):
    write(
        tmp_path,
        {
            f"{prefix}labels.csv": "Swiping Left\nStop Sign\n",
            f"{prefix}train.csv": "34870;Stop Sign\n1;Swiping Left\n",
            f"{prefix}validation.csv": "2;Swiping Left\n",
            f"{prefix}test.csv": "7\n8\n",
        },
    )
    assert jester(tmp_path).class_names() == ("Swiping Left", "Stop Sign")
    assert jester(tmp_path).read().to_pydict() == {
        "video_id": ["34870", "1"],
        "path": ["20bn-jester-v1/34870", "20bn-jester-v1/1"],
        "label": ["Stop Sign", "Swiping Left"],
        "frame_template": ["{:05}.jpg"] * 2,
        "fps": [12, 12],
    }
    encoded = jester(tmp_path, "val", ending=".mp4").read()
    assert encoded.to_pydict() == {"video_id": ["2"], "path": ["20bn-jester-v1/2.mp4"], "label": ["Swiping Left"]}
    assert jester(tmp_path, "test").read()["label"].to_pylist() == [None, None]
    with pytest.raises(DataError, match=r"row 1 \(7\) has no label"):
        load_manifest(jester(tmp_path, "test"), ("Swiping Left", "Stop Sign"), split="test")
    write(tmp_path, {"test-answers.csv": "7;Stop Sign\n8;Swiping Left\n"})
    assert jester(tmp_path, "test").read()["label"].to_pylist() == ["Stop Sign", "Swiping Left"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("two;Stop Sign", "an id and a class, got 'two;Stop Sign'; a line should read like '34870;Drumming Fingers'"),
        ("2;Go Sign", "a class, got '2;Go Sign'; {folder}/labels.csv names 1 classes: Stop Sign"),
        ("2", "a class, got '2'"),
    ],
)
def test_a_wrong_line_of_jester_is_named(tmp_path, line, told):
    write(tmp_path, {"labels.csv": "Stop Sign\n", "train.csv": f"1;Stop Sign\n{line}\n"})
    assert refusal(jester(tmp_path)).startswith(f"{tmp_path}/train.csv, line 2: {told.format(folder=tmp_path)}")


def sthv2(folder, split="train"):
    return SthV2Source(root="s3://bucket/sthv2", annotations=str(folder), split=split)


@pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
def test_something_something(tmp_path, prefix):
    entry = {"id": "78687", "label": "putting potato next to box", "placeholders": ["potato", "box"]}
    entry["template"] = "Putting [something] next to [something]"
    write(
        tmp_path,
        {
            f"{prefix}labels.json": STHV2_CLASSES,
            f"{prefix}train.json": [entry],
            f"{prefix}validation.json": [{**entry, "id": "5", "template": "Bending [something]"}],
            f"{prefix}test.json": [{"id": "1420"}],
        },
    )
    assert sthv2(tmp_path).class_names() == ("Bending something", "Putting something next to something")
    assert sthv2(tmp_path).read().to_pydict() == {
        "video_id": ["78687"],
        "path": ["s3://bucket/sthv2/78687.webm"],
        "label": ["Putting something next to something"],
    }
    assert sthv2(tmp_path, "val").read()["label"].to_pylist() == ["Bending something"]
    assert sthv2(tmp_path, "test").read().select(["video_id", "label"]).to_pylist() == [
        {"video_id": "1420", "label": None}
    ]
    write(tmp_path, {"test-answers.csv": "1420;Bending something\n"})
    assert sthv2(tmp_path, "test").read()["label"].to_pylist() == ["Bending something"]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"train.json": [{"id": "1"}]}, 'train.json, entry 1: a video, got {"id": "1"}; it should have \'id\' (str)'),
        (
            {"train.json": [{"id": "1", "template": "Xing"}]},
            "train.json, entry 1: a template, got 'Xing'; labels.json",
        ),
        ({"labels.json": {"a": "0", "b": "2"}}, 'labels.json: classes, got {"a": "0", "b": "2"}; it should be'),
        ({"labels.json": {"a": "0", "b": "0"}}, "labels.json: classes, got"),
        ({"labels.json": ["a"]}, "labels.json: classes, got"),
    ],
)
def test_a_wrong_entry_of_something_something_is_named(tmp_path, files, told):
    write(tmp_path, {"labels.json": STHV2_CLASSES, "train.json": []} | files)
    assert refusal(sthv2(tmp_path)).startswith(f"{tmp_path}/{told}")


@pytest.fixture
def diving48(tmp_path):
    write(
        tmp_path,
        {
            "Diving48_vocab.json": [["Back", "15som", "05Twis", "FREE"], ["Reverse", "Dive", "NoTwis", "TUCK"]],
            "Diving48_V2_train.json": [
                {"vid_name": "-mmq0PT-u8k_00155", "label": 1, "start_frame": 0, "end_frame": 48},
                {"vid_name": "x_y_00001", "label": 0, "start_frame": 0, "end_frame": 70},
            ],
        },
    )
    return Diving48Source(root="rgb", annotations=str(tmp_path), split="train")


def test_diving48(diving48):
    assert diving48.class_names() == ("Back+15som+05Twis+FREE", "Reverse+Dive+NoTwis+TUCK")
    assert diving48.read().to_pydict() == {
        "video_id": ["-mmq0PT-u8k_00155", "x_y_00001"],
        "path": ["rgb/-mmq0PT-u8k_00155.mp4", "rgb/x_y_00001.mp4"],
        "label": ["Reverse+Dive+NoTwis+TUCK", "Back+15som+05Twis+FREE"],
        "group": ["-mmq0PT-u8k", "x_y"],
    }


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"Diving48_V2_train.json": [{"vid_name": "a", "label": 2}]},
            "train.json, entry 1: a class, got 2; labels are 0",
        ),
        ({"Diving48_V2_train.json": [{"vid_name": "a", "label": "2"}]}, "train.json, entry 1: a video, got"),
        ({"Diving48_vocab.json": {"0": "Back"}}, "vocab.json: dives, got {'0': 'Back'}; it should be a list of lists"),
    ],
)
def test_a_wrong_entry_of_diving48_is_named(diving48, tmp_path, files, told):
    write(tmp_path, files)
    assert told in refusal(diving48)
