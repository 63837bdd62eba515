#!/usr/bin/env python3
"""Serve a recognizer over HTTP: a video in, its best classes out, as JSON. Ctrl-C ends it.

python jobs/serve.py --model runs/RUN [--port 8000]          listens at 127.0.0.1 alone
curl -F video=@video.mp4 http://127.0.0.1:8000/recognize

See docs/serve.md.
"""

import sys
from argparse import Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))

from kinoray.cli.arguments import load_site, run
from kinoray.cli.console import make_console
from kinoray.cli.serving import ServingAsked, serve_parser, show_ready
from kinoray.cluster.predict.run import share_out
from kinoray.cluster.serving.run import check_port, ray_serve, serve
from kinoray.cluster.session import capacity_of, session


def main(arguments: Namespace) -> None:
    site = load_site(arguments)
    ray_serve()
    asked = ServingAsked(arguments)
    console = make_console()
    allocation = share_out(site, capacity_of(site))
    asked.check_fits(allocation)
    check_port(asked.endpoint)
    if arguments.dry_run:
        console.print(f"{arguments.model} at {asked.endpoint.url}; {allocation.describe()}")
        return
    with session(site):
        serve(
            asked.serving,
            site,
            allocation,
            asked.endpoint,
            lambda: show_ready(console, asked, arguments.model, allocation),
        )
    console.print("ended")


if __name__ == "__main__":
    run(main, serve_parser(__doc__ or ""))
