"""Lists cut into splits."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from kinoray.data.sources import ManifestSource
from kinoray.data.splits import Division, classes_of, joined
from kinoray.errors import ConfigError, DataError

FIGHT2 = Path(__file__).resolve().parents[4] / "shared/assets/real_labelled/fight2/annotations.csv"


def listing_of(labels, groups=None):
    ids = [f"v{number}" for number in range(len(labels))]
    columns = {"video_id": ids, "path": [f"/set/{name}.mp4" for name in ids], "label": labels}
    return pa.table(columns | ({} if groups is None else {"group": groups}))


def alone(listing):
    return np.arange(listing.num_rows)


def division(shares="train=0.8,val=0.2", pattern=None, seed=0):
    return Division.parse(shares, pattern, seed)


def test_every_class_is_cut_in_the_same_shares():
    labels = ["a"] * 100 + ["b"] * 50 + ["c"] * 10
    counts = Counter(zip(labels, division().split(listing_of(labels), np.arange(160)), strict=True))
    assert [counts[name, "val"] for name in "abc"] == [20, 10, 2]


def test_three_splits_of_classes_of_one_video_each():
    listing = listing_of([f"class{number}" for number in range(20)])
    assert Counter(division("a=0.5,b=0.3,c=0.2").split(listing, alone(listing))) == {"a": 10, "b": 6, "c": 4}


def test_the_order_of_rows_does_not_matter_and_the_seed_does():
    listing = listing_of(["a", "b"] * 30)
    split = division().split(listing, alone(listing))
    turned = listing.take(list(range(59, -1, -1)))
    assert division().split(turned, alone(listing)) == split[::-1]
    assert division(seed=1).split(listing, alone(listing)) != split


def test_nor_does_the_order_in_which_a_group_names_its_classes():
    """Of this list a plain sum of the excesses rounds to another split when it is turned."""
    rng = np.random.default_rng(280)
    labels = [[f"c{one}" for one in np.flatnonzero(rng.random(6) < 0.3)] for _ in range(60)]
    listing = listing_of(labels, [f"g{number}" for number in rng.integers(0, 25, 60)])
    cut = division("a=0.7,b=0.15,c=0.15")
    assert cut.split(listing.take(list(range(59, -1, -1))), np.arange(60)) == cut.split(listing, np.arange(60))[::-1]


def test_groups_and_kin_stay_together():
    rng = np.random.default_rng(0)
    groups = [f"g{number}" for number in rng.integers(0, 40, 300)]
    groups[:10] = [None] * 10
    listing = listing_of([f"c{number}" for number in rng.integers(0, 5, 300)], groups)
    kin = np.arange(300)
    kin[17], kin[250] = 3, 3
    split = division().split(listing, kin)
    for name in set(groups) - {None}:
        assert len({split[row] for row in range(300) if groups[row] == name}) == 1
    assert split[3] == split[17] == split[250]
    assert 50 <= split.count("val") <= 70
    families = joined(groups, kin)
    assert families[17] == families[3]
    assert len(set(families[:3].tolist())) == 3, "rows without a group stand alone"


def test_groups_by_what_is_in_the_path():
    listing = listing_of(["a"] * 12)
    assert division(pattern=r"v(\d)\d?\.mp4").groups(listing)[:2] == ["0", "1"]
    assert division(pattern=r"v\d").groups(listing)[-1] == "v1"
    assert division(pattern="v3").groups(listing) == [None] * 3 + ["v3"] + [None] * 8
    assert division(pattern=r"v(x?)").groups(listing) == [None] * 12, "no text is no group"
    with pytest.raises(DataError, match=r"--group-by, got 'person\\d'; it fits no path, such as /set/v0\.mp4"):
        division(pattern=r"person\d").groups(listing)


def test_several_labels_a_row():
    listing = listing_of([["a", "b"], ["a"], ["b"], ["a", "b"]] * 25)
    split = division("x=0.5,y=0.5").split(listing, alone(listing))
    counts = Counter(name for name, labels in zip(split, listing["label"].to_pylist(), strict=True) if "b" in labels)
    assert abs(counts["x"] - counts["y"]) <= 2


def test_labels_as_they_may_be_written():
    assert classes_of(listing_of([["a", None], None, []])) == [("a",), (), ()]
    assert classes_of(listing_of(["a", "a; b;", "", None])) == [("a",), ("a", "b"), (), ()]
    assert classes_of(listing_of([3, None])) == [("3",), ()]


def test_an_empty_group_is_none():
    listing = listing_of(["a"] * 6, ["", "", None, "x", "x", ""])
    assert division().groups(listing) == [None, None, None, "x", "x", None]


def test_what_cannot_be_cut():
    listing = listing_of(["a"] * 6, ["one"] * 6)
    with pytest.raises(DataError, match="nothing is left for val, got 1 groups of videos that belong together, of 6"):
        division().split(listing, alone(listing))


@pytest.mark.parametrize(
    "shares",
    ["train", "train=0.8", "train=0.8,val=0.3", "a=1,b=0", "a=0.5,a=0.5", "a/b=0.5,c=0.5", "a=0.5, b=0.5", "="],
)
def test_shares_that_cannot_be(shares):
    with pytest.raises(ConfigError, match="it should be names with shares of sum 1: train="):
        division(shares)


def test_other_arguments_that_cannot_be():
    with pytest.raises(ConfigError, match=r"manifest\.parquet lists the videos of all splits"):
        division("manifest=0.5,val=0.5")
    with pytest.raises(ConfigError, match=r"got the name 'Fingerprints'; fingerprints\.parquet tells"):
        division("Fingerprints=0.5,val=0.5")
    with pytest.raises(ConfigError, match=r"--group-by \(: "):
        division(pattern="(")
    with pytest.raises(ConfigError, match=r"--split a=0\.5\.5,b=0\.5"):
        division("a=0.5.5,b=0.5")


@pytest.mark.skipif(not FIGHT2.exists(), reason="needs ../shared/assets")
def test_a_real_set_whose_groups_differ_in_size():
    """300 videos of two classes, cut from 74 films and 30 unknown ones."""
    listing = ManifestSource(path=str(FIGHT2)).read()
    split = np.array(division().split(listing, alone(listing)))
    groups, labels = (np.array(listing[name].to_pylist()) for name in ("group", "label"))
    assert not set(groups[split == "train"]) & set(groups[split == "val"])
    assert Counter(labels[split == "val"].tolist()) == {"fight": 30, "no_fight": 30}
