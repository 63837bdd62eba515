"""What a person says to ``jobs/report.py`` and sees of it."""

import argparse

from rich.console import Console

from kinoray.cli.console import closing_table
from kinoray.data.manifest import read_classes
from kinoray.data.output import OutputFolder
from kinoray.errors import ConfigError
from kinoray.predict.request import absolute_place
from kinoray.review.review import Reviewed, Wanted, review
from kinoray.site import Site

PAGE = "_report.html"
"""In the folder of the predictions: readers of Parquet pass over names that begin so."""


def report_parser(description: str) -> argparse.ArgumentParser:
    """The parser of ``jobs/report.py``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Wanted()
    parser.add_argument("predictions", metavar="PREDICTIONS", help="--out of jobs/predict.py, folder or URI")
    parser.add_argument("--labels", metavar="MANIFEST", help="csv, tsv, parquet or jsonl with columns path and label")
    parser.add_argument("--classes", metavar="TXT", help="names a line, if labels are numbers; default: the model's")
    parser.add_argument("--out", metavar="HTML", help=f"the page, path or URI; default: PREDICTIONS/{PAGE}")
    parser.add_argument("--max-thumbnails", type=int, default=default.max_thumbnails, metavar="N", help="strips in all")
    parser.add_argument("--per-class", type=int, default=default.per_class, metavar="N", help="strips of each class")
    parser.add_argument("--max-clips", type=int, default=default.max_clips, metavar="N", help="of the worst mistakes")
    parser.add_argument(
        "--timeout-seconds", type=float, default=default.seconds, metavar="S", help="that reading all videos may take"
    )
    return parser


def write_report(arguments: argparse.Namespace, console: Console) -> None:
    """Make the page and write it.

    Raises:
        ConfigError: an argument cannot be.
        DataError: there are no predictions, or labels cannot be used.
        ResourceError: the page cannot be written.
    """
    wanted = _wanted(arguments)
    output = OutputFolder(_storage(arguments.predictions))
    classes = read_classes(arguments.classes, setting="--classes") if arguments.classes else None
    with console.status("reading predictions"):
        done = review(output, wanted, labels=arguments.labels, classes=classes)
    folder, name = output, PAGE
    if arguments.out is not None:
        parent, _, name = absolute_place(arguments.out).rpartition("/")
        folder = OutputFolder(parent)
    content = done.page.encode("utf-8", "replace")
    folder.write(name, content)
    console.print(
        closing_table("review", [*_figures(done), ("page", f"{folder.path(name)}, {len(content) / 1e6:.1f} MB")])
    )


def _figures(done: Reviewed) -> list[tuple[str, str]]:
    total = done.total
    num_scored, num_labelled = sum(total.predicted.values()), sum(total.confusion.values())
    rows = [
        ("videos", f"{total.num_videos:,}"),
        ("rows", f"{total.num_rows:,}, {num_scored:,} of them scored"),
        (
            "pictures",
            f"{done.num_pictures - done.num_without:,}" + f", {done.num_without:,} missing" * bool(done.num_without),
        ),
    ]
    if num_labelled:
        right = sum(count for (true, best), count in total.confusion.items() if true == best)
        rows.append(("top-1", f"{right / num_labelled:.4f} of {num_labelled:,} labelled rows"))
    return rows


def _wanted(arguments: argparse.Namespace) -> Wanted:
    for name in ("max_thumbnails", "per_class", "max_clips", "timeout_seconds"):
        value = getattr(arguments, name)
        if value < 0:
            raise ConfigError(f"--{name.replace('_', '-')}: got {value}; it should be 0 or more")
    return Wanted(arguments.max_thumbnails, arguments.per_class, arguments.max_clips, arguments.timeout_seconds)


def _storage(place: str) -> str:
    """As ``jobs/predict.py`` reads its ``--out``."""
    return Site.load(None, [f"storage={place}"]).storage_path()
