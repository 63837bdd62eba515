"""What a person says to ``jobs/predict.py``. No torch or Ray: what is wrong is told before they are imported."""

from argparse import ArgumentParser, Namespace

from kinoray.cli.arguments import job_parser
from kinoray.data.output import OutputFolder
from kinoray.errors import ConfigError
from kinoray.predict.listing import check_listable
from kinoray.site import Site

_VIEWS = "10x3"


def predict_parser(description: str) -> ArgumentParser:
    """The parser of ``jobs/predict.py``."""
    parser = job_parser(description)
    parser.add_argument("--model", required=True, help="run, checkpoint, .onnx or .pt2; a recipe for --checkpoint")
    parser.add_argument("--checkpoint", help="weights for the recipe that --model names")
    parser.add_argument("--labels", metavar="TXT", help="class names, one a line; default: the model's own")
    parser.add_argument("--videos", required=True, help="folder, s3://bucket/prefix, pattern, or a manifest with paths")
    parser.add_argument("--out", required=True, help="folder or URI; the same command again goes on")
    parser.add_argument("--split", choices=["val", "test"], default="test", help="whose views are taken")
    parser.add_argument("--views", metavar="CLIPSxCROPS", help=f"instead, e.g. 1x1 or {_VIEWS}")
    parser.add_argument("--segment-seconds", type=float, metavar="S", help="score windows of long videos, a row each")
    parser.add_argument("--stride-seconds", type=float, metavar="S", help="between windows; default: their length")
    parser.add_argument("--top", type=int, default=5, metavar="K", help="labels of a row")
    parser.add_argument("--scores", choices=["top", "all"], default="top", help="all: those of every class, too")
    parser.add_argument("--embeddings", action="store_true", help="also what goes into the classifier")
    parser.add_argument("--batch-size", type=int, default=8, help="videos that the model scores at a time")
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--compile", action="store_true", help="torch.compile; pays on a GPU")
    parser.add_argument("--timeout-seconds", type=float, default=60.0, help="that opening and reading a video may take")
    parser.add_argument("--videos-per-shard", type=int, default=256, help="what a killed worker does again at most")
    return parser


def check_arguments(arguments: Namespace) -> None:
    """See that the arguments fit each other, and that the videos can be listed.

    Raises:
        ConfigError: something in the arguments cannot be.
        DataError: the videos cannot be listed.
    """
    for name in ("segment_seconds", "stride_seconds", "timeout_seconds", "batch_size", "videos_per_shard", "top"):
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            raise ConfigError(f"--{name.replace('_', '-')}: got {value}; it should be more than 0")
    if arguments.stride_seconds is not None and arguments.segment_seconds is None:
        raise ConfigError("--stride-seconds: got no --segment-seconds; it says how far windows lie apart")
    check_listable(arguments.videos, output_of(arguments))


def output_of(arguments: Namespace) -> OutputFolder:
    """Where rows go."""
    return OutputFolder(Site.load(None, [f"storage={arguments.out}"]).storage_path())
