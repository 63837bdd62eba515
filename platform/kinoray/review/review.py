"""From the output of a prediction to a page."""

from collections.abc import Sequence
from dataclasses import dataclass

from kinoray.data.output import OutputFolder
from kinoray.errors import DataError
from kinoray.review.labels import Labels
from kinoray.review.page import Seen, chosen, render
from kinoray.review.pictures import Looker, noted_view
from kinoray.review.tally import Sizes, Tally, shards_of, tally

MAX_UNSURE = 24
MAX_UNSCORED = 100
"""Of each status."""


@dataclass(frozen=True)
class Wanted:
    """How much is shown.

    Attributes:
        max_thumbnails: strips on the page; each takes about 10 kB.
        per_class: strips of a class.
        max_clips: of the worst mistakes; each takes 5 to 100 kB.
        seconds: for reading the videos; what is not read by then is left out with the reason.
    """

    max_thumbnails: int = 300
    per_class: int = 8
    max_clips: int = 12
    seconds: float = 300.0


@dataclass(frozen=True)
class Reviewed:
    """A page, and what it is about.

    Attributes:
        page: HTML.
        num_pictures: strips and clips that were wanted.
        num_without: of these, without a picture.
    """

    page: str
    total: Tally
    num_pictures: int
    num_without: int


def review(output: OutputFolder, wanted: Wanted, *, labels: str | None, classes: Sequence[str] | None) -> Reviewed:
    """Count what was predicted, choose what is worth a look, read the pictures of it.

    Args:
        output: what ``jobs/predict.py`` wrote, all of it or a part.
        wanted: how much is shown.
        labels: a manifest.
        classes: what numbers in the manifest stand for; None: the classes that the prediction noted.

    Raises:
        DataError: there are no predictions, the manifest cannot be read, or lists none of the videos.
    """
    shards = shards_of(output)
    truth = Labels.read(labels, classes or shards.job.get("classes")) if labels else None
    unsure = min(MAX_UNSURE, wanted.max_thumbnails)
    total = tally(output, shards, truth, Sizes(wanted.per_class, unsure, wanted.max_clips, MAX_UNSCORED))
    if labels and total.predicted and not total.confusion:
        raise DataError(
            f"{labels}: lists none of the {total.num_videos:,} videos of {output.root}, neither by path nor by video_id"
        )
    shown = chosen(total, max_thumbnails=wanted.max_thumbnails)
    looker = Looker(noted_view(shards.job), seconds=wanted.seconds)
    clips = looker.look(shown.mistakes, "clip")
    strips = looker.look(shown.strips, "strip")
    seen = Seen(dict(zip(shown.mistakes, clips, strict=True)), dict(zip(shown.strips, strips, strict=True)))
    page = render(output.root, shards, total, shown, seen)
    num_without = sum(not picture.address for picture in [*clips, *strips])
    return Reviewed(page, total, len(clips) + len(strips), num_without)
