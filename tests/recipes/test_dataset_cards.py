"""Every data set's card says the same to people, to programs and to recipes, and counts what its lists hold."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kinoray.data.config import DataConfig
from kinoray.data.manifest import load_manifest, read_classes
from kinoray.data.sources import SOURCES, SourceConfig

REPO = Path(__file__).resolve().parents[2]
ANNOTATIONS = REPO.parent / "shared/assets/annotations"
LABEL_MAPS = {
    "ucf101": "ucf101_label_map",
    "hmdb51": "hmdb51_label_map",
    "kinetics400": "kinetics_label_map_k400",
    "kinetics600": "kinetics_label_map_k600",
    "kinetics700": "kinetics_label_map_k700",
    "sthv2": "sthv2_label_map",
    "jester": "jester_label_map",
    "diving48": "diving48_label_map",
}
OFFICIAL_LISTS = {"ucf101": "ucf101_splits", "hmdb51": "hmdb51_splits"}
CARDS = {path.parent.name: yaml.safe_load(path.read_text()) for path in sorted(REPO.glob("datasets/*/card.yaml"))}
OF_OTHERS = sorted(set(CARDS) - {"motion8"})
VIEW = {"sampling": {"clip_len": 8}, "crop": 64}


def page(name: str) -> str:
    return (REPO / "datasets" / name / "README.md").read_text()


def data_block(name: str) -> dict[str, Any]:
    """The block that a card gives to paste."""
    (block,) = re.findall(r"```yaml\n(data:\n.*?)```", page(name), re.DOTALL)
    values: dict[str, Any] = yaml.safe_load(block)["data"]
    return values


def data_config(name: str) -> DataConfig:
    """The block with views added, as a recipe has them."""
    values = data_block(name)
    return DataConfig.model_validate(
        values | {"train": values["train"] | VIEW | {"batch_size": 8}, "val": values["val"] | VIEW}
    )


def official_classes(name: str) -> tuple[str, ...]:
    if not ANNOTATIONS.is_dir():
        pytest.skip("needs ../shared/assets/annotations, the data sets' own lists")
    return read_classes(str(ANNOTATIONS / f"label_maps/{LABEL_MAPS[name]}.txt"))


def source_of(name: str, settings: dict[str, Any]) -> SourceConfig:
    source = SOURCES.validate({"kind": CARDS[name]["source"], **settings})
    assert isinstance(source, SourceConfig)
    return source


def test_there_are_cards():
    wanted = {*LABEL_MAPS, "motion8"}
    assert wanted <= set(CARDS)
    assert {path.name for path in (REPO / "datasets").iterdir()} == set(CARDS), "a folder without a card"


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_what_programs_need(name):
    card = CARDS[name]
    assert card["name"] == name
    needed = {"summary", "task", "num_classes", "source", "splits", "counts_from", "licence", "homepage", "origin"}
    assert needed <= set(card)
    assert card["source"] in SOURCES.kinds
    assert all(split["num_videos"] > 0 for split in card["splits"].values())
    assert all(card["flip_labels"][other] == label for label, other in card.get("flip_labels", {}).items())
    if "labels" in card:
        assert len(read_classes(str(REPO / "datasets" / name / card["labels"]))) == card["num_classes"]


@pytest.mark.parametrize("name", CARDS)
def test_a_card_is_listed_with_its_numbers(name):
    card = CARDS[name]
    pages = (REPO / "docs/datasets.md").read_text()
    (row,) = [line for line in pages.splitlines() if f"(../datasets/{name}/README.md)" in line]
    splits = card["splits"]
    folds = [split["select"]["fold"] for split in splits.values() if "fold" in split.get("select", {})]
    num_listed = int(row.split("|")[2].replace(",", ""))
    if name != "hmdb51":  # whose splits leave clips out
        assert num_listed == sum(split["num_videos"] for split in splits.values()) / max(len(set(folds)), 1)
    assert row.split("|")[3].strip() == str(card["num_classes"])
    assert row.split("|")[5].strip() == f"`{card['source']}`"


@pytest.mark.parametrize("name", OF_OTHERS)
def test_a_page_says_what_people_need(name):
    text = page(name)
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == ["Getting it", "Using it", "Know its faults", "Licence"]
    missing = [
        split["num_videos"] for split in CARDS[name]["splits"].values() if f"{split['num_videos']:,}" not in text
    ]
    assert missing == []


@pytest.mark.parametrize("name", OF_OTHERS)
def test_the_block_to_paste_is_a_recipes(name):
    data = data_config(name)
    card = CARDS[name]
    assert data.val is not None
    for split in (data.train, data.val):
        assert split.source is not None
        assert split.source.kind == card["source"]
    assert dict(data.flip_labels) == card.get("flip_labels", {})
    if card["source"] == "skeletons":
        assert data.classes is None, "their labels are indices"
    elif data.classes is None:  # then the lists themselves have to state their order
        assert type(data.train.source).class_names is not SourceConfig.class_names
    else:
        assert data.classes == f"datasets/{name}/{card['labels']}"


@pytest.mark.parametrize("name", OF_OTHERS)
def test_recipes_of_a_data_set_are_named_on_its_page(name):
    recipes = sorted((REPO / "configs").glob(f"*/*_{name}_*.yaml"))
    linked = set(re.findall(r"\(\.\./\.\./(configs/[^)]+)\)", page(name)))
    assert linked == {str(recipe.relative_to(REPO)) for recipe in recipes}
    assert bool(recipes) == ("No recipe of ours" not in page(name))


@pytest.mark.parametrize("name", LABEL_MAPS)
def test_classes_are_the_official_ones(name):
    card, classes = CARDS[name], official_classes(name)
    assert card["num_classes"] == len(classes)
    assert set(card.get("flip_labels", {})) <= set(classes)
    if "labels" in card:
        assert read_classes(str(REPO / "datasets" / name / card["labels"])) == classes
    elif name != "jester":  # whose block names the file of its classes
        assert list(classes) == sorted(classes), "without data.classes they are sorted, which has to be their order"


@pytest.mark.parametrize(
    ("name", "split"), [(name, split) for name in OFFICIAL_LISTS for split in CARDS[name]["splits"]]
)
def test_counts_are_those_of_the_official_lists(name, split):
    classes = official_classes(name)
    wanted = CARDS[name]["splits"][split]
    settings = {"root": "videos", "annotations": str(ANNOTATIONS / OFFICIAL_LISTS[name]), **wanted["select"]}
    manifest = load_manifest(source_of(name, settings), classes, split=split)
    assert manifest.num_videos == wanted["num_videos"]


@pytest.mark.parametrize("name", OF_OTHERS)
def test_what_selects_a_split_is_a_setting_of_the_source(name):
    for split in CARDS[name]["splits"].values():
        if "select" in split:
            source = source_of(name, {"root": "videos", "annotations": "lists", **split["select"]})
            assert {key: getattr(source, key) for key in split["select"]} == split["select"]


def test_every_source_is_documented():
    documented = re.findall(r"^\| `(\w+)` \|", (REPO / "docs/datasets.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(SOURCES.kinds)
