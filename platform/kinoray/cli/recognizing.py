"""What ``jobs/recognize.py`` takes and shows."""

import argparse
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kinoray.cli.recognizing_video import check_target, write_annotated
from kinoray.errors import ConfigError, ResourceError
from kinoray.recognizer import Recognition, VideoRecognizer
from kinoray.video.open import open_video


def recognize_parser(description: str) -> argparse.ArgumentParser:
    """What the job takes."""
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("video", help="a file, a folder of frames, or the URI of either")
    arguments.add_argument(
        "--model", required=True, help="a run, a checkpoint, an exported .onnx or .pt2, or a config with --checkpoint"
    )
    arguments.add_argument("--checkpoint", metavar="FILE", help="weights for the config")
    arguments.add_argument(
        "--labels", metavar="TXT", help="a class name a line; default: the names the model comes with"
    )
    arguments.add_argument("--split", choices=["val", "test"], default="val", help="whose views to take; default: val")
    arguments.add_argument("--top", type=int, default=5, metavar="K", help="classes to show; default: %(default)s")
    arguments.add_argument("--out", metavar="FILE", help="also write the video with its labels on it, .mp4 or .gif")
    arguments.add_argument("--device", help="cpu, cuda, cuda:1, ...; default: a GPU where there is one")
    arguments.add_argument("--site", metavar="YAML", help="names the packages of your own kinds")
    arguments.set_defaults(set=[])
    return arguments


def check_arguments(arguments: argparse.Namespace) -> None:
    """See what is wrong before anything is loaded.

    Raises:
        ConfigError: ``--top`` or ``--out`` make no sense.
    """
    if arguments.top < 1:
        raise ConfigError(f"--top: classes to show, got {arguments.top}; it should be at least 1")
    if arguments.out is not None:
        check_target(Path(arguments.out))


def device_named(name: str | None) -> str:
    """A device that is here; None picks one.

    Raises:
        ConfigError: torch knows none of that name.
        ResourceError: this machine has none.
    """
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device, got '{name}'; it should read like cpu, cuda or cuda:1") from error
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ResourceError(f"--device: torch finds no '{name}' on this machine; leave it out") from error
    return name


def recognize(console: Console, recognizer: VideoRecognizer, video: str, *, top: int, out: str | None) -> None:
    """Score a video, print its best classes, and write it with these on it.

    Args:
        console: where to.
        recognizer: for it.
        video: a path or URI.
        top: how many classes.
        out: an .mp4 or .gif file, None for none.

    Raises:
        DecodeError: the video cannot be read.
        ResourceError: the file cannot be written.
    """
    found = recognizer.recognize(video)
    console.print(top_table(video, found, top))
    if out is None:
        return
    lines = [f"{score:.3f}  {name}" for name, score in found.top(top)]
    with open_video(video) as opened:
        write_annotated(opened, lines, Path(out))
    console.print(f"with labels: {out}")


def top_table(video: str, found: Recognition, top: int) -> Table:
    """The best classes with their scores."""
    table = Table(title=Text(video, "bold"), title_justify="left", box=box.ROUNDED)
    table.add_column("class", overflow="fold")
    table.add_column("score", justify="right", no_wrap=True)
    for name, score in found.top(top):
        table.add_row(Text(name), f"{score:.3f}")
    return table
