#!/usr/bin/env python3
"""Make videos ready for training: look into each once, encode it anew for fast clips, pack it into shards.

python jobs/prepare.py SOURCE OUTPUT [--transcode] [--shards] [--site SITE], or the same after `ray job submit --`

SOURCE is a manifest, a folder with a folder per class, or what data.train.source says in a recipe; recipes read the
result as data.train.source=OUTPUT/manifest.parquet. A second run does what is missing. See docs/prepare.md.
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))

from kinoray.cli.arguments import job_parser, load_site, recipe_overrides, run
from kinoray.cli.console import make_console
from kinoray.cli.preparing import PreparingConsole
from kinoray.cluster.prepare import prepare
from kinoray.cluster.session import capacity_of, session
from kinoray.data.output import OutputFolder
from kinoray.data.prepare import Preparation, read_listing
from kinoray.data.prepared import Record
from kinoray.site import Site
from kinoray.video.transcode import Encoding


def parser() -> ArgumentParser:
    arguments = job_parser(__doc__ or "")
    arguments.add_argument("source", metavar="SOURCE")
    arguments.add_argument("output", metavar="OUTPUT", help="folder or URI; on several nodes reachable from all")
    arguments.add_argument("--transcode", action="store_true", help="encode anew, for fast clips")
    arguments.add_argument("--codec", choices=["mpeg4", "h264"], default="mpeg4", help="h264: smaller, slower to read")
    arguments.add_argument("--short-side", type=int, default=256, metavar="PIXELS", help="of larger pictures")
    arguments.add_argument("--shards", action="store_true", help="pack the videos into files of 256 MB")
    return arguments


def main(arguments: Namespace) -> None:
    site = load_site(arguments)
    listing = read_listing(arguments.source, recipe_overrides(arguments.set))
    encoding = Encoding(arguments.codec, arguments.short_side) if arguments.transcode else None
    output = OutputFolder(Site.load(None, [f"storage={arguments.output}"]).storage_path())
    preparation = Preparation(output, encoding, in_shards=arguments.shards)
    num_cpus = site.decode_cpus or capacity_of(site).cpus
    console = make_console()
    console.print(f"{listing.num_rows:,} rows of {arguments.source}: {preparation.describe()}; {num_cpus:g} CPUs")
    if arguments.dry_run:
        return
    record = Record(preparation, listing)
    with session(site), PreparingConsole(console) as view:
        view.close(prepare(record, num_cpus=num_cpus, listener=view))


if __name__ == "__main__":
    run(main, parser())
