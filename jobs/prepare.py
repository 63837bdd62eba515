#!/usr/bin/env python3
"""Make videos ready for training: look into each once, encode it anew for fast clips, pack it into shards.

python jobs/prepare.py SOURCE OUTPUT [--transcode] [--shards] [--site SITE], or the same after `ray job submit --`

SOURCE is a manifest, a folder with a folder per class, or what data.train.source says in a recipe; recipes read the
result as data.train.source=OUTPUT/manifest.parquet. Bad videos, duplicates and the figures of the list are reported;
--split cuts it, --against compares it with another one. A second run does what is missing. See docs/prepare.md.
"""

import sys
from argparse import Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))

from kinoray.cli.arguments import load_site, run
from kinoray.cli.console import make_console
from kinoray.cli.preparing import PreparingConsole, Request, prepare_parser
from kinoray.cluster.prepare import prepare
from kinoray.cluster.session import capacity_of, session


def main(arguments: Namespace) -> None:
    site = load_site(arguments)
    request = Request(arguments)
    num_cpus = site.decode_cpus or capacity_of(site).cpus
    console = make_console()
    console.print(f"{request.num_rows:,} rows of {arguments.source}: {request.describe()}; {num_cpus:g} CPUs")
    if arguments.dry_run:
        return
    record = request.record()
    with session(site), PreparingConsole(console) as view:
        view.close(prepare(record, num_cpus=num_cpus, listener=view))


if __name__ == "__main__":
    run(main, prepare_parser(__doc__ or ""))
