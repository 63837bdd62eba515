"""UCF101 and HMDB51 by their official lists, made up and real; the label maps of many data sets."""

from pathlib import Path

import pytest

from kinoray.data.annotations_splits import HMDB51_CLASSES, Hmdb51Source, Ucf101Source
from kinoray.data.manifest import load_manifest, read_classes
from kinoray.errors import DataError

ANNOTATIONS = Path(__file__).resolve().parents[3].parent / "shared/assets/annotations"


def write(folder, files):
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")


def refusal(source):
    with pytest.raises(DataError) as caught:
        source.read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def real():
    if not ANNOTATIONS.is_dir():
        pytest.skip("needs ../shared/assets/annotations, the data sets' own split files")
    return ANNOTATIONS


def ucf101(folder, split, **options):
    return Ucf101Source(root="videos", annotations=str(folder), split=split, **options)


@pytest.fixture
def ucf101_folder(tmp_path):
    write(
        tmp_path,
        {
            "classInd.txt": "1 HammerThrow\r\n2 Hammering\r\n",
            "trainlist01.txt": "Hammering/v_Hammering_g08_c01.avi 2\r\nHammerThrow/v_HammerThrow_g09_c02.avi 1\r\n",
            "testlist01.txt": "Hammering/v_Hammering_g01_c01.avi\r\nHammering/other.avi\r\n",
        },
    )
    return tmp_path


def test_ucf101(ucf101_folder):
    assert ucf101(ucf101_folder, "train").class_names() == ("HammerThrow", "Hammering")
    assert ucf101(ucf101_folder, "train").read().to_pydict() == {
        "video_id": ["Hammering/v_Hammering_g08_c01.avi", "HammerThrow/v_HammerThrow_g09_c02.avi"],
        "path": ["videos/Hammering/v_Hammering_g08_c01.avi", "videos/HammerThrow/v_HammerThrow_g09_c02.avi"],
        "label": ["Hammering", "HammerThrow"],
        "group": ["Hammering/v_Hammering_g08", "HammerThrow/v_HammerThrow_g09"],
    }
    test = ucf101(ucf101_folder, "test").read()
    assert test["label"].to_pylist() == ["Hammering", "Hammering"]
    assert test["group"].to_pylist() == ["Hammering/v_Hammering_g01", None]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("v_Hammering_g08_c01.avi 2", "a video and the number of its class, got 'v_Hammering_g08_c01.avi 2'; a line"),
        ("Swing/v_Swing_g08_c01.avi 2", "a class, got 'Swing/v_Swing_g08_c01.avi 2'; classInd.txt names 2 classes"),
        ("Hammering/a.avi 1", "a folder and a number of the same class, got 'Hammering/a.avi 1'; classInd.txt says"),
    ],
)
def test_a_wrong_line_of_ucf101_is_named(ucf101_folder, line, told):
    write(ucf101_folder, {"trainlist01.txt": f"Hammering/a.avi 2\n{line}\n"})
    assert refusal(ucf101(ucf101_folder, "train")).startswith(f"{ucf101_folder}/trainlist01.txt, line 2: {told}")


def test_ucf101_counts_its_classes_from_one(ucf101_folder):
    write(ucf101_folder, {"classInd.txt": "1 HammerThrow\n3 Hammering\n"})
    assert "classInd.txt, line 2: the next number, got '3 Hammering'" in refusal(ucf101(ucf101_folder, "test"))


def test_a_missing_list_of_ucf101_is_named(ucf101_folder):
    assert f"{ucf101_folder}/trainlist03.txt: no such file" in refusal(ucf101(ucf101_folder, "train", fold=3))


def test_a_wrong_mark_of_hmdb51_is_named(tmp_path):
    for label in HMDB51_CLASSES:
        write(tmp_path, {f"{label}_test_split2.txt": f"Movie_{label}_u_cm_np1_fr_goo_0.avi 1 \n"})
    source = Hmdb51Source(root="s3://bucket/hmdb51?region=x", annotations=str(tmp_path), split="train", fold=2)
    read = source.read()
    assert read.num_rows == 51
    assert read["path"][1].as_py() == "s3://bucket/hmdb51/cartwheel/Movie_cartwheel_u_cm_np1_fr_goo_0.avi?region=x"
    assert set(read["group"].to_pylist()) == {"Movie"}
    write(tmp_path, {"wave_test_split2.txt": "a.avi 1\nb.avi 3\n"})
    assert "wave_test_split2.txt, line 2: a video and its mark 0, 1 or 2, got 'b.avi 3'" in refusal(source)
    (tmp_path / "wave_test_split2.txt").unlink()
    assert "wave_test_split2.txt: no such file" in refusal(source)


@pytest.mark.parametrize(("fold", "num_train", "num_test"), [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)])
def test_all_splits_of_ucf101(real, fold, num_train, num_test):
    sources = {split: ucf101(real / "ucf101_splits", split, fold=fold) for split in ("train", "test")}
    classes = sources["train"].class_names()
    assert classes == read_classes(str(real / "label_maps/ucf101_label_map.txt"))
    manifests = {split: load_manifest(source, classes, split=split) for split, source in sources.items()}
    assert {split: manifest.num_videos for split, manifest in manifests.items()} == {
        "train": num_train,
        "test": num_test,
    }
    assert num_train + num_test == 13_320
    ids = [set(manifest.table["video_id"].to_pylist()) for manifest in manifests.values()]
    groups = [source.read()["group"] for source in sources.values()]
    assert not ids[0] & ids[1]
    assert [group.null_count for group in groups] == [0, 0]
    assert not set(groups[0].to_pylist()) & set(groups[1].to_pylist())
    assert len({*groups[0].to_pylist(), *groups[1].to_pylist()}) == 101 * 25


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_all_splits_of_hmdb51(real, fold):
    tables = []
    for split, num_videos, num_of_class in (("train", 3570, 70), ("test", 1530, 30)):
        source = Hmdb51Source(root="v", annotations=str(real / "hmdb51_splits"), split=split, fold=fold)
        classes = source.class_names()
        assert classes == read_classes(str(real / "label_maps/hmdb51_label_map.txt"))
        assert set(classes) == set(read_classes(str(real / "hmdb51_splits/class_list.txt")))
        manifest = load_manifest(source, classes, split=split)
        assert manifest.num_videos == num_videos
        labels = manifest.table["label"].to_pylist()
        assert [labels.count(label) for label in range(51)] == [num_of_class] * 51
        tables.append(source.read())
    # No film is on both sides within a class: that is how the splits were drawn, and it shows that films are told well.
    films = [set(zip(table["label"].to_pylist(), table["group"].to_pylist(), strict=True)) for table in tables]
    assert not films[0] & films[1]
    assert all(table["group"].null_count == 0 for table in tables)


@pytest.mark.parametrize(
    ("name", "num_classes"),
    [
        ("activitynet_label_map", 200), ("ava_label_map", 60), ("diving48_label_map", 48), ("hmdb51_label_map", 51),
        ("jester_label_map", 27), ("kinetics710_label_map_k710", 710), ("kinetics_label_map_k400", 400),
        ("kinetics_label_map_k600", 600), ("kinetics_label_map_k700", 700), ("mit_label_map", 339),
        ("mmit_label_map", 313), ("multisports_label_map", 66), ("skeleton_label_map_ntu60", 60),
        ("sthv1_label_map", 174), ("sthv2_label_map", 174), ("ucf101_label_map", 101),
    ],
)  # fmt: skip
def test_all_label_maps(real, name, num_classes):
    assert len(read_classes(str(real / f"label_maps/{name}.txt"))) == num_classes


@pytest.mark.parametrize("name", ["gym_label_map", "skeleton_label_map_gym99"])
def test_gym_names_a_class_twice(real, name):
    with pytest.raises(DataError, match="twice"):
        read_classes(str(real / f"label_maps/{name}.txt"))
