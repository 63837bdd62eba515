#!/usr/bin/env python3
"""Label a bucket of videos: one row for every video, whatever becomes of it, however often this is interrupted.

python jobs/predict.py --model runs/RUN --videos s3://bucket/prefix --out s3://bucket/predictions [--site SITE]

The same command again goes on where it ended. Rows are Parquet in OUT/part-*.parquet; OUT/_SUCCESS says that all are
there. See docs/predict.md.
"""

import sys
from argparse import Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))

from kinoray.cli.arguments import load_site, run
from kinoray.cli.predict_arguments import check_arguments, predict_parser


def main(arguments: Namespace) -> None:
    site = load_site(arguments)
    check_arguments(arguments)
    # Only now: it takes seconds, which nobody should wait to hear that a bucket may not be listed.
    from kinoray.cli.console import make_console
    from kinoray.cli.predicting import Prediction, PredictionConsole, show_predicted
    from kinoray.cluster.predict.run import predict, share_out
    from kinoray.cluster.session import capacity_of, session
    from kinoray.predict.conclusion import written_shards
    from kinoray.predict.request import note
    from kinoray.tracking.prediction import tracked_prediction

    asked = Prediction(arguments, site)
    console = make_console()
    allocation = share_out(site, capacity_of(site))
    if arguments.dry_run:
        console.print(f"{arguments.model} on {arguments.videos} into {arguments.out}; {allocation.describe()}")
        return
    known = asked.claim()
    listing = asked.listing()
    before = len(written_shards(asked.output))
    console.print(f"{asked.describe(listing, before)}; {allocation.describe()}")
    with tracked_prediction(
        site,
        asked.recognizer,
        asked.request,
        listing,
        videos=arguments.videos,
        output=asked.output.root,
        resume_run_id=known.get("mlflow_run_id"),
    ) as tracker:
        note(asked.output, known, mlflow_run_id=tracker.run_id, **asked.shown())
        with session(site), PredictionConsole(console, listing, before) as view:
            done = predict(asked.assignment(listing, tracker.run_id), site, view)
        places = [("predictions", asked.output.root), ("MLflow", tracker.link())]
        tracker.add_metrics(show_predicted(console, done, site, allocation, places), done.written.num_rows)


if __name__ == "__main__":
    run(main, predict_parser(__doc__ or ""))
