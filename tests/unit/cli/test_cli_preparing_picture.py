"""The picture of a list."""

import pytest

from kinoray.cli.preparing_picture import MAX_BARS, MAX_CLASS_BARS, summary_picture
from kinoray.data.summary import Spread, Summary
from kinoray.tracking.pictures import png_bytes


def summary_of(**changed):
    spread = Spread(1.0, 2.0, 1000.0, (1.0, 10.0, 100.0, 1000.0), (8, 4, 1))
    figures = dict.fromkeys(("num_rows", "num_files", "num_frames", "num_bytes", "num_damaged"), 13)
    figures |= dict.fromkeys(("num_exact", "num_near", "num_duplicate_groups", "num_leaks", "hours"), 0)
    figures |= dict.fromkeys(("duration_seconds", "frames", "file_bytes"), spread)
    figures |= {"reasons": {}, "codecs": {"h264": 13}, "fps": {"25": 12, "5": 1}, "short_sides": {"240": 13}}
    figures |= {"classes": {"a": 12, "$b_1^": 1}, "split_rows": {}, "splits": {}}
    return Summary(**figures | changed)


def axes_of(figure):
    return {ax.get_title(loc="left"): ax for ax in figure.axes}


def labels_of(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_panels_show_the_figures():
    axes = axes_of(summary_picture(summary_of(num_near=4, split_rows={"train": 10, "val": 3})))
    assert [bar.get_height() for bar in axes["Frames"].patches] == [8, 4, 1]
    assert axes["Duration"].get_xlabel() == "1.0s to 1.0ks, median 2.0s"
    assert labels_of(axes["Frames per second"]) == ["5", "25"], "numbers are in their order"
    assert labels_of(axes["Duplicates"]) == ["near"]
    assert [bar.get_width() for bar in axes["Rows of the splits"].patches] == [10, 3]
    assert [text.get_text() for text in axes["Bad videos by reason"].texts] == ["none"]
    assert labels_of(axes["2 classes, 1 : 12.0"]) == ["a", "$b_1^"]


def test_many_values_and_classes_are_cut():
    classes = {f"class{number:03d}": 500 - number for number in range(400)}
    codecs = {f"codec{number}": 20 - number for number in range(15)}
    axes = axes_of(summary_picture(summary_of(classes=classes, codecs=codecs)))
    names = labels_of(axes["400 classes, 1 : 5.0"])
    assert len(names) == MAX_CLASS_BARS
    assert (names[0], names[-1]) == ("class000", "class399")
    assert labels_of(axes["Codec"])[-1] == f"{15 - MAX_BARS} others"
    assert "376 classes between" in [text.get_text() for text in axes["400 classes, 1 : 5.0"].texts]


def test_classes_of_names_that_are_shortened_alike_have_a_bar_each():
    names = [f"pretending to put something on {number} of some things" for number in range(3)]
    (ax,) = (
        ax
        for title, ax in axes_of(summary_picture(summary_of(classes=dict.fromkeys(names, 4)))).items()
        if "classes" in title
    )
    assert [bar.get_width() for bar in ax.patches] == [4, 4, 4]


@pytest.mark.parametrize("changed", [{}, {"duration_seconds": Spread(3.0, 3.0, 3.0, (1.5, 4.5), (2,))}])
def test_it_renders(changed):
    assert png_bytes(summary_picture(summary_of(classes={"走る": 3}, **changed))).startswith(b"\x89PNG")
    assert png_bytes(summary_picture(summary_of(classes={}))).startswith(b"\x89PNG")
