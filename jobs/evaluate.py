#!/usr/bin/env python3
"""Score a checkpoint on every video of a split, each counted once; what comes out goes to Parquet, CSV and MLflow.

python jobs/evaluate.py runs/RUN                      the run's best checkpoint on data.val's views
python jobs/evaluate.py runs/RUN/epoch-0004 --split test --set data.test.source=my_videos --views 10x3
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))

from kinoray.cli.arguments import job_parser, load_site, recipe_overrides, run
from kinoray.cli.console import make_console
from kinoray.cli.evaluating import conclude, predictions_file, with_views
from kinoray.cluster.session import capacity_of, session
from kinoray.cluster.training import evaluate
from kinoray.data.manifest import check_files, load_manifest
from kinoray.site import allocate
from kinoray.train.checkpoint import open_checkpoint


def parser() -> ArgumentParser:
    arguments = job_parser(__doc__ or "")
    arguments.add_argument("checkpoint", help="a run's folder (its best checkpoint) or a checkpoint's folder")
    arguments.add_argument("--split", choices=["val", "test"], default="val")
    arguments.add_argument("--probe", action="store_true", help="also score shuffled, reversed and single frames")
    arguments.add_argument("--views", metavar="CLIPSxCROPS", help="of a video, e.g. 1x1 or 10x3; default: the recipe's")
    arguments.add_argument("--out", metavar="PARQUET", help="default: beside the checkpoint")
    return arguments


def main(arguments: Namespace) -> None:
    site = load_site(arguments)
    checkpoint = open_checkpoint(arguments.checkpoint)
    recipe = checkpoint.recipe(recipe_overrides(arguments.set))
    recipe = with_views(recipe, arguments.split, arguments.views) if arguments.views else recipe
    allocation = allocate(site, capacity_of(site))
    source = recipe.data.evaluation_source(arguments.split)
    manifest = load_manifest(source, checkpoint.classes(), split=arguments.split, multi_label=recipe.data.multi_label)
    check_files(manifest, recipe.data.max_bad_fraction)
    out = predictions_file(arguments.out, checkpoint, arguments.split, named=arguments.checkpoint)
    console = make_console()
    what = f"{arguments.checkpoint}, epoch {checkpoint.progress.epoch + 1}"
    console.print(f"{what}: {manifest.num_videos:,} videos of {manifest.where}; {allocation.describe()}")
    if arguments.dry_run:
        return
    with session(site):
        outcome = evaluate(recipe, checkpoint, manifest, allocation, split=arguments.split, with_probe=arguments.probe)
    conclude(console, outcome, recipe, manifest, site, checkpoint=arguments.checkpoint, out=out)


if __name__ == "__main__":
    run(main, parser())
