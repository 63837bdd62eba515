"""What a person says to ``jobs/serve.py`` and sees of it."""

from argparse import ArgumentParser, Namespace

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from kinoray.cli.arguments import job_parser
from kinoray.cluster.serving.addresses import check_allowed
from kinoray.cluster.serving.run import MAX_ONGOING, Endpoint
from kinoray.cluster.serving.service import ServiceLimits, Serving
from kinoray.errors import ConfigError
from kinoray.predict.request import Request, absolute_place, views_of
from kinoray.recognizer import load_recognizer
from kinoray.site import Allocation
from kinoray.video.limits import Limits

_LOOPBACK = ("127.", "::1", "localhost")
_MAX_PORT = 65_535


def serve_parser(description: str) -> ArgumentParser:
    """The parser of ``jobs/serve.py``."""
    parser = job_parser(description)
    parser.add_argument("--model", required=True, help="run, checkpoint, .onnx or .pt2; a recipe for --checkpoint")
    parser.add_argument("--checkpoint", help="weights for the recipe that --model names")
    parser.add_argument("--labels", metavar="TXT", help="class names, one a line; default: the model's own")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: all; default: %(default)s")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument("--split", choices=["val", "test"], default="val", help="whose views are taken")
    parser.add_argument("--views", metavar="CLIPSxCROPS", help="instead, e.g. 1x1 or 4x3")
    parser.add_argument("--top", type=int, default=5, metavar="K", help="labels of an answer; ?top=K asks for others")
    parser.add_argument("--batch-size", type=int, default=8, help="videos that the model scores at a time, at most")
    parser.add_argument("--batch-wait-ms", type=float, default=5.0, metavar="MS", help="that a video waits for others")
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--compile", action="store_true", help="torch.compile; pays on a GPU")
    parser.add_argument("--timeout-seconds", type=float, default=60.0, help="of a request, from its first byte")
    parser.add_argument("--max-mb", type=float, default=100.0, metavar="MB", help="of a video; default: %(default)s")
    parser.add_argument("--max-requests", type=int, default=32, help="at a time, a replica; others are told to wait")
    parser.add_argument(
        "--urls",
        nargs="+",
        default=[],
        metavar="PREFIX",
        help="fetch videos by URL: what lies below https://host/folder/ or s3://bucket/prefix/; public: from any web "
        "server of the public internet; default: none",
    )
    return parser


class ServingAsked:
    """What the arguments ask for, with the model opened once to look at it.

    Raises:
        ConfigError: something in the arguments cannot be.
        CheckpointError: there is no such model.
    """

    def __init__(self, arguments: Namespace) -> None:
        _check(arguments)
        self.endpoint = Endpoint(arguments.host, arguments.port)
        place = absolute_place(arguments.model)
        recognizer = load_recognizer(place, arguments.checkpoint, split=arguments.split, labels=arguments.labels)
        view = views_of(recognizer.view, arguments.views)
        view.clip_shape()
        self.num_classes = len(recognizer.classes)
        self.serving = Serving(
            request=Request(
                model=place,
                checkpoint=arguments.checkpoint and absolute_place(arguments.checkpoint),
                labels=arguments.labels and absolute_place(arguments.labels),
                split=arguments.split,
                view=view,
                window=None,
                batch_size=arguments.batch_size,
                precision=arguments.precision,
                compiled=arguments.compile,
                limits=Limits(seconds=arguments.timeout_seconds),
            ),
            limits=ServiceLimits(
                seconds=arguments.timeout_seconds,
                num_bytes=round(arguments.max_mb * 1e6),
                num_requests=arguments.max_requests,
                urls=tuple(arguments.urls),
            ),
            batch_wait_seconds=arguments.batch_wait_ms / 1000,
            top=min(arguments.top, self.num_classes),
        )

    def check_fits(self, allocation: Allocation) -> None:
        """Raise a ConfigError where replicas would only fail on what they get."""
        if self.serving.request.precision == "fp16" and not allocation.gpus_per_worker:
            raise ConfigError("--precision: fp16 on a CPU; use bf16 or fp32 there")


def show_ready(console: Console, asked: ServingAsked, model: str, allocation: Allocation) -> None:
    """Say where the server listens, and how to ask it."""
    url, limits = asked.endpoint.url, asked.serving.limits
    table = Table.grid(padding=(0, 2))
    taken = f"{limits.num_bytes / 1e6:g} MB, {limits.seconds:g} s"
    rows = [
        ("model", f"{model}, {asked.num_classes} classes"),
        ("replicas", allocation.describe()),
        ("a video", f"curl -F video=@FILE {url}/recognize"),
        ("limits", f"{taken}, {limits.num_requests} requests at a time; URLs: {', '.join(limits.urls) or 'none'}"),
        ("health", f"curl {url}/health"),
        ("end", "Ctrl-C"),
    ]
    for name, value in rows:
        table.add_row(Text(name, "bold"), Text(value))
    console.print(Panel(table, title=f"serving at {url}", title_align="left", box=box.ROUNDED, expand=False))
    if not asked.endpoint.host.startswith(_LOOPBACK):
        console.print("Whoever reaches this address may ask: the server knows no users; put one before it that does.")


def _check(arguments: Namespace) -> None:
    for name in ("top", "batch_size", "timeout_seconds", "max_mb", "max_requests"):
        value = getattr(arguments, name)
        if not value > 0:
            raise ConfigError(f"--{name.replace('_', '-')}: got {value}; it should be more than 0")
    if not 0 < arguments.port <= _MAX_PORT:
        raise ConfigError(f"--port: got {arguments.port}; it should be from 1 to {_MAX_PORT}")
    if not 0 <= arguments.batch_wait_ms <= arguments.timeout_seconds * 1000:
        raise ConfigError(f"--batch-wait-ms: got {arguments.batch_wait_ms:g}; it should be from 0 to the timeout")
    if arguments.max_requests > MAX_ONGOING:
        raise ConfigError(f"--max-requests: got {arguments.max_requests}; it should be at most {MAX_ONGOING}")
    check_allowed(arguments.urls)
