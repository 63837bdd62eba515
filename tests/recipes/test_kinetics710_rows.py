"""Which rows of a head of Kinetics-710 the recipes of Kinetics-400, 600 and 700 start from."""

from pathlib import Path

import yaml

from kinoray.data.manifest import read_classes

REPO = Path(__file__).resolve().parents[2]
NUM_ROWS = 710
# Several data sets' names of one class.
SAME = [
    {"balloon blowing", "inflating balloons"},
    {"changing wheel", "changing wheel (not on bike)"},
    {"cooking sausages", "cooking sausages (not on barbeque)"},
    {"drinking", "sipping cup"},
    {"dying hair", "dyeing hair"},
    {"garbage collecting", "person collecting garbage"},
    {"hugging", "hugging (not baby)"},
    {"making bed", "making the bed"},
    {"opening bottle", "opening bottle (not wine)"},
    {"picking fruit", "picking apples"},
    {"skiing (not slalom or crosscountry)", "skiing mono"},
    {"sniffing", "smelling feet"},
    {"tying tie", "tying necktie"},
    {"passing american football (not in game)", "passing American football (not in game)"},
    {"throwing ball", "throwing ball (not baseball or American football)"},
]


def names_of_rows(num_classes: int) -> dict[int, str]:
    base = yaml.safe_load((REPO / f"configs/_base_/kinetics710_rows_of_kinetics{num_classes}.yaml").read_text())
    classes = read_classes(str(REPO / f"datasets/kinetics{num_classes}/labels.txt"))
    return dict(zip(base["model"]["head_rows"], classes, strict=True))


def test_each_class_has_a_row_of_its_own():
    for num_classes in (400, 600, 700):
        rows = names_of_rows(num_classes)
        assert len(rows) == num_classes
        assert max(rows) < NUM_ROWS


def test_the_three_make_710():
    assert set().union(*(names_of_rows(number) for number in (400, 600, 700))) == set(range(NUM_ROWS))


def test_a_row_is_the_same_class_in_all_three():
    old, middle, new = (names_of_rows(number) for number in (400, 600, 700))
    pairs = [
        {rows[row], others[row]}
        for rows, others in ((old, middle), (old, new), (middle, new))
        for row in rows
        if row in others
    ]
    assert len(pairs) > 1300
    assert all(len(names) == 1 or names in SAME for names in pairs), [n for n in pairs if len(n) > 1 and n not in SAME]


def test_a_class_of_one_name_has_one_row():
    row_of: dict[str, int] = {}
    for number in (400, 600, 700):
        for row, name in names_of_rows(number).items():
            assert row_of.setdefault(name, row) == row
