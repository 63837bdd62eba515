"""What ``jobs/rerun.py`` takes and shows: a recorded run as it is to be run again, what differs, what came of it."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kinoray.cli.arguments import job_parser
from kinoray.data.config import Dataset
from kinoray.errors import DataError, ResourceError
from kinoray.recipe import Recipe
from kinoray.site import Allocation, Capacity, Site, allocate
from kinoray.tracking.differences import Comparison, Difference, compare_histories, differences, same_videos
from kinoray.tracking.provenance import Environment
from kinoray.tracking.recorded import RecordedRun, load_history
from kinoray.tracking.store import checked_uri
from kinoray.tracking.training import dataset_infos

NUM_METRICS_SHOWN = 10
WORKER_FIELDS = ("workers", "cpus_per_worker", "gpus_per_worker")


def rerun_parser(description: str) -> argparse.ArgumentParser:
    """What the job takes."""
    arguments = job_parser(description)
    arguments.add_argument("run", metavar="RUN", help="MLflow's id, the beginning of one, or the run's name")
    arguments.add_argument(
        "--allow-other-data", action="store_true", help="train even where the lists of videos are not the recorded ones"
    )
    return arguments


def as_recorded(site: Site, recorded: RecordedRun) -> Site:
    """A site with the workers and the experiment of a run, but for what it says itself; of no relative path.

    Args:
        site: as the user gave it.
        recorded: the run.
    """
    before, said = recorded.environment, site.model_fields_set
    values: dict[str, object] = {"workers": recorded.num_workers, "experiment": recorded.experiment}
    if before is not None:
        values |= {"workers": before.num_workers, "gpus_per_worker": before.gpus_per_worker}
        if before.gpus_per_worker == site.gpus_per_worker or "gpus_per_worker" not in said:
            values["cpus_per_worker"] = before.cpus_per_worker
    values = {name: value for name, value in values.items() if name not in said}
    values["storage"] = site.storage_path()
    values["tracking_uri"] = site.tracking_uri and checked_uri(site.tracking_uri)
    values["packages"] = tuple(str(Path(folder).absolute()) for folder in site.packages)
    return site.model_copy(update=values)


def allocate_as_recorded(site: Site, capacity: Capacity, recorded: RecordedRun) -> Allocation:
    """``allocate`` for a site of ``as_recorded``.

    Raises:
        ResourceError: this place cannot hold what the run had.
    """
    try:
        return allocate(site, capacity)
    except ResourceError as error:
        had = ", ".join(
            f"site.{name} {getattr(site, name):g}" for name in WORKER_FIELDS if getattr(site, name) is not None
        )
        raise ResourceError(
            f"{error}\nwhat run {recorded.name} had is taken ({had}); --set another, and the numbers may differ"
        ) from error


def load_data(recipe: Recipe, recorded: RecordedRun, *, allow_other: bool) -> Dataset:
    """The videos of a recipe, if they are those that a run had.

    Raises:
        DataError: a list is gone or unusable, or names other videos.
    """
    try:
        dataset = recipe.data.load(recipe.model.num_classes)
    except DataError as error:
        raise DataError(f"{error}\nrelative paths of run {recorded.name} start from {Path.cwd()}") from error
    infos = dataset_infos(dataset)
    others = [split for split, info in recorded.data.items() if split in infos and not same_videos(info, infos[split])]
    if others and not allow_other:
        before, now = recorded.data[others[0]], infos[others[0]]
        raise DataError(
            f"data.{others[0]}: {now.source} is not what run {recorded.name} read, got {now.num_videos:,} videos, "
            f"digest {now.digest}; it should be {before.num_videos:,}, digest {before.digest}: bring that list back, "
            "name it by --set, or pass --allow-other-data"
        )
    return dataset


def show_differences(
    console: Console, recorded: RecordedRun, recipe: Recipe, dataset: Dataset, environment: Environment
) -> None:
    """Print what differs from a run, what may change its numbers first."""
    found = differences(recorded, recipe, dataset_infos(dataset), environment)
    what = f"run {recorded.name} ({recorded.run_id})"
    if not found:
        console.print(Text(f"{what}: nothing that is recorded of it differs here"))
        return
    for title, may_change in (("may change the numbers", True), ("should change no number", False)):
        rows = [each for each in found if each.may_change == may_change]
        if rows:
            console.print(Text(f"differs from {what}, {title}:"))
            console.print(_table(rows))
    if not any(each.may_change for each in found):
        console.print("nothing that differs should change a number")


def conclude(console: Console, uri: str, recorded: RecordedRun, run_id: str) -> None:
    """Say whether a run has come to the same as the recorded one, by what the store holds of both.

    Raises:
        ResourceError: the store does not answer; the run itself is done.
    """
    try:
        comparison = compare_histories(load_history(uri, recorded.run_id), load_history(uri, run_id))
    except ResourceError as error:
        error.at_work = True
        raise
    console.print(Text("\n".join(comparison_lines(comparison))))


def comparison_lines(comparison: Comparison) -> list[str]:
    """What a comparison found, in words."""
    looked_at = f"{comparison.num_metrics} metrics at {comparison.num_points} points"
    differing = list(comparison.differing.items())
    if not comparison.num_points:
        lines = ["compared: nothing, for the two runs share no point of any metric"]
    elif not differing:
        lines = [f"bit-equal: {looked_at}"]
    else:
        lines = [f"not bit-equal: {len(differing)} of {looked_at} differ, by a largest relative difference of"]
        lines += [f"  {name}  {apart:.2g}" for name, apart in differing[:NUM_METRICS_SHOWN]]
        lines += [f"  ... and {len(differing) - NUM_METRICS_SHOWN} more"] * (len(differing) > NUM_METRICS_SHOWN)
    for number, which in ((comparison.num_missing, "recorded"), (comparison.num_new, "new")):
        if number:
            lines.append(f"{number} more points are in the {which} run alone")
    return lines


def _table(rows: Sequence[Difference]) -> Table:
    table = Table(box=box.ROUNDED)
    table.add_column("")
    for name in ("recorded", "here"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(Text(row.what), Text(row.recorded), Text(row.here))
    return table
