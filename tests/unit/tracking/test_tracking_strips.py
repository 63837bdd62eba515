import numpy as np
from matplotlib.figure import Figure

from kinoray.tracking.pictures import INK, MUTED, png_bytes
from kinoray.tracking.strips import Strip, batch_picture, strips_picture
from kinoray.train.events import BatchSeen


def lines(figure: Figure) -> list[list[tuple[str, str]]]:
    written = [[(text.get_text(), text.get_color()) for text in axes.texts] for axes in figure.axes]
    return [words for words in written if words]


def test_a_batch_shows_every_video_with_its_classes_and_their_shares() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 4, 12, 12, 3), dtype=np.uint8)
    labels = (((1, 1.0),), ((0, 0.75), (2, 0.25)), ((0, 1.0), (1, 1.0)))
    figure = batch_picture(BatchSeen(pictures, labels), ["a $x^{", "b", "c"])
    assert lines(figure) == [
        [("b", INK)],
        [("75% a $x^{", INK), ("25% c", MUTED)],
        [("a $x^{", INK), ("b", INK)],
    ]
    shown = [image.get_array() for axes in figure.axes for image in axes.get_images()]
    assert len(shown) == 3
    for video, image in zip(pictures, shown, strict=True):
        for frame, place in zip(video, np.split(np.asarray(image), 4, axis=1), strict=True):
            np.testing.assert_array_equal(place[:12, :12], frame)
    assert png_bytes(figure)


def test_a_video_without_a_label_has_a_strip_too() -> None:
    picture = batch_picture(BatchSeen(np.zeros((1, 1, 8, 8, 3), np.uint8), ((),)), ["a"])
    assert png_bytes(picture)
    assert lines(picture) == []


def test_strips_may_differ_in_size_and_length() -> None:
    strips = [Strip(np.zeros((frames, 8, 8 * frames, 3), np.uint8), [("x", INK)]) for frames in (1, 6, 2)]
    assert len(lines(strips_picture("several", strips))) == 3
