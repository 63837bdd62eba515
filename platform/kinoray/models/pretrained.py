"""Weights by name, URL, object or file: found, fetched, checked against their digest, and given to a recognizer.

``torchvision://resnet50`` or ``torchvision://ResNet50_Weights.IMAGENET1K_V2``, ``timm://resnet50.a1_in1k``,
``https://...``, ``s3://...`` or a path; of files other than a library's the SHA-256 may follow, as
``weights.pth#sha256=0123456789abcdef``.
"""

import hashlib
import http.client
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import torch
from pyarrow.fs import FileType
from torch import Tensor

from kinoray.errors import CheckpointError, ConfigError
from kinoray.models.base import Recognizer
from kinoray.models.inflation import Inflation
from kinoray.models.layers.library2d import timm_state_dict
from kinoray.models.weight_files import WEIGHT_SUFFIXES, read_state_dict
from kinoray.models.weights import warm_start
from kinoray.video.files import without_passwords
from kinoray.video.stores import file_system, local_path

TORCHVISION = "torchvision://"
TIMM = "timm://"
_LIBRARIES = (TORCHVISION, TIMM)
_DOWNLOADED = (*_LIBRARIES, "https://", "http://")
_GIVEN_DIGEST = re.compile(r"#sha256=([0-9a-fA-F]{8,64})$")
_LIKE_A_DIGEST = re.compile(r"#sha-?256", re.IGNORECASE)
# Published files carry the digest's beginning, as resnet50-0676ba61.pth does; 20260101 would be a date.
_NAMED_DIGEST = re.compile(r"-(?!20\d{6}\.)([0-9a-f]{8,64})\.\w+$")


def is_weights_file(source: str) -> bool:
    """Whether a source is a single file, by its name alone; else it is a checkpoint's or a run's folder.

    Raises:
        ConfigError: it ends with what is meant as a digest, and is none.
    """
    place, digest = _split_digest(source)
    return bool(digest) or place.startswith(_LIBRARIES) or _location(place).endswith(WEIGHT_SUFFIXES)


def read_source(source: str) -> dict[str, Tensor]:
    """Read the state dict of a source of weights that is a single file.

    Raises:
        ConfigError: the library has no weights of that name, or the digest is none.
        CheckpointError: it cannot be fetched or read, or has another digest.
        ResourceError: its library is not installed.
    """
    place, digest = _split_digest(source)
    if place.startswith(TIMM):
        return timm_state_dict(place.removeprefix(TIMM))
    with _local_copy(place) as path:
        shown = without_passwords(place)
        where = f"{shown}, kept at {path}" if place.startswith(_DOWNLOADED) else shown
        if digest and path.is_file():
            _check_digest(path, digest, where)
        return read_state_dict(path, where=where)


def has_source(source: str) -> bool:
    """Whether ``read_source`` would find something; what libraries and web servers hold is taken on trust.

    Raises:
        ConfigError: torchvision has no weights of that name, or the digest is none.
        CheckpointError: its store cannot be reached.
    """
    place, _ = _split_digest(source)
    if place.startswith(TORCHVISION):
        torchvision_url(place.removeprefix(TORCHVISION))
    if place.startswith(_DOWNLOADED):
        return True
    if (path := local_path(place)) is not None:
        return Path(path).is_file()
    try:
        filesystem, key = file_system(place)
        return bool(filesystem.get_file_info(key).type == FileType.File)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CheckpointError(without_passwords(f"{place}: cannot be reached: {error}")) from error


def load_pretrained(model: Recognizer, source: str | None, inflation: Inflation = "mean") -> None:
    """Start a recognizer from ``model.pretrained``, see ``warm_start``; what became of it is in ``weights_report``.

    Raises:
        ConfigError: torchvision has no weights of that name.
        CheckpointError: the source cannot be read, or belongs to another network.
    """
    if source is not None:
        where = f"model.pretrained: {without_passwords(source)}"
        model.weights_report = warm_start(model, read_source(source), where=where, inflation=inflation)


def source_for(pretrained: str | None, network: str) -> str | None:
    """``IMAGENET1K_V1`` of a network of torchvision's -> its source; other sources stay as they are.

    Args:
        pretrained: a name, a file or a URL.
        network: torchvision's name, with or without ``torchvision:``; or ``timm:`` and timm's, whose tags it looks up
            only when they are read.

    Raises:
        ConfigError: torchvision has no such weights, or a digest is none.
    """
    if pretrained is None or is_weights_file(pretrained) or "://" in pretrained:
        return pretrained
    library, _, network = network.rpartition(":")
    if library == "timm":
        return f"{TIMM}{network}.{pretrained}"
    import torchvision

    try:
        known = torchvision.models.get_model_weights(network)
    except ValueError:
        raise ConfigError(
            f"pretrained: torchvision has no weights of {network}, got {pretrained!r}; give a "
            f"{', '.join(WEIGHT_SUFFIXES)} file or a URL"
        ) from None
    if pretrained not in known.__members__:
        raise ConfigError(
            f"pretrained: no weights of {network}, got {pretrained!r}; torchvision has {', '.join(known.__members__)}; "
            f"or give a {', '.join(WEIGHT_SUFFIXES)} file or a URL"
        )
    return f"{TORCHVISION}{known.__name__}.{pretrained}"


def torchvision_url(name: str) -> str:
    """Where torchvision's weights lie.

    Args:
        name: of a model, for the first weights that were published of it, or ``ResNet50_Weights.IMAGENET1K_V2``.

    Raises:
        ConfigError: there are none of that name.
    """
    import torchvision

    try:
        if "." in name:
            return str(torchvision.models.get_weight(name).url)
        return str(next(iter(torchvision.models.get_model_weights(name))).url)
    except (ValueError, KeyError) as error:
        raise ConfigError(
            f"{TORCHVISION}{name}: torchvision has no such weights; give a model's name, as resnet50 or r3d_18, or "
            "that of weights, as ResNet50_Weights.IMAGENET1K_V2"
        ) from error


def _split_digest(source: str) -> tuple[str, str]:
    """The place, and the digest that follows it, empty where none does.

    Raises:
        ConfigError: what follows is no digest; left aside, the file would go unchecked.
    """
    if found := _GIVEN_DIGEST.search(source):
        return source[: found.start()], found[1].lower()
    if _LIKE_A_DIGEST.search(source) or ("#" in source and source.startswith(_DOWNLOADED)):
        shown = without_passwords(source)
        raise ConfigError(
            f"{shown}: a digest, got '#{shown.rpartition('#')[2]}'; it should be #sha256= and 8 to 64 hexadecimal "
            "digits, at the very end"
        )
    return source, ""


def _location(place: str) -> str:
    """A place without the options of a store's URI."""
    return place.partition("?")[0] if "://" in place else place


@contextmanager
def _local_copy(place: str) -> Iterator[Path]:
    """A file of this machine with what lies at a place; of a store, one that lasts as long as it is read."""
    if place.startswith(TORCHVISION):
        yield _downloaded(torchvision_url(place.removeprefix(TORCHVISION)))
    elif place.startswith(_DOWNLOADED):
        yield _downloaded(place)
    elif (path := local_path(place)) is not None:
        yield Path(path)
    else:
        with tempfile.TemporaryDirectory(prefix="kinoray-weights-") as folder:
            copy = Path(folder) / f"weights{Path(_location(place)).suffix}"
            try:
                filesystem, key = file_system(place)
                with filesystem.open_input_stream(key) as source, copy.open("wb") as target:
                    shutil.copyfileobj(source, target)
            except (OSError, ValueError, pa.ArrowException) as error:
                raise CheckpointError(without_passwords(f"{place}: cannot be fetched: {error}")) from error
            yield copy


def _downloaded(url: str) -> Path:
    """The file in torch.hub's cache, downloaded where it is not there; its digest is that of its name."""
    name = Path(urlsplit(url).path).name
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if named := _NAMED_DIGEST.search(name):
        digest = named[1]
    else:  # many files are called best.pth
        digest, folder = "", folder / f"of-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
    path = folder / name
    if path.is_file():
        if digest:
            _check_digest(path, digest, str(path))
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), digest or None, progress=False)
    except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
        raise CheckpointError(
            f"{without_passwords(url)}: cannot be fetched, got {error}; download it elsewhere and put it at {path} on "
            "every machine"
        ) from error
    return path


def _check_digest(path: Path, digest: str, place: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(digest):
        raise CheckpointError(
            f"{place}: its SHA-256 begins with {found[: len(digest)]}, should with {digest}; the file is damaged or "
            "another, remove it and download it again"
        )
