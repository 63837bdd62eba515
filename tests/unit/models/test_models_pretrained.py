"""Sources of weights; nothing here leaves this machine."""

import hashlib
import http.client
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from pydantic import ValidationError
from torch import Tensor

from kinoray.errors import CheckpointError, ConfigError
from kinoray.models.pretrained import has_source, is_weights_file, read_source, source_for, torchvision_url
from kinoray.models.slowfast import SlowFastConfig
from kinoray.models.tsn import TSNConfig

ResNet18 = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
TENSORS = {"a.weight": torch.arange(6.0).view(2, 3)}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of downloads, and no network."""

    def offline(url: str, *_: object, **__: object) -> None:
        raise URLError(f"no route to {url}")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save(TENSORS, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.fixture
def resnet18(cache: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Random weights in the cache, as if torchvision had published them."""
    cache.mkdir(parents=True)
    state_dict = torchvision.models.resnet18().state_dict()
    torch.save(state_dict, cache / "new.pth")
    name = f"resnet18-{digest_of(cache / 'new.pth')[:8]}.pth"
    (cache / "new.pth").rename(cache / name)
    monkeypatch.setattr(ResNet18.value, "url", f"https://example.org/models/{name}")
    return dict(state_dict)


# --- torchvision's, by name


@pytest.mark.parametrize("name", ["resnet18", "ResNet18_Weights.IMAGENET1K_V1", "ResNet18_Weights.DEFAULT"])
def test_cached_weights_are_read_without_a_network(resnet18: dict[str, Tensor], name: str) -> None:
    assert same(read_source(f"torchvision://{name}"), resnet18)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("resnet50", "resnet50-0676ba61.pth"),
        ("ResNet50_Weights.IMAGENET1K_V2", "resnet50-11ad3fa6.pth"),
        *((name, f"{name}-") for name in ("r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s")),
        *((name, f"{name}") for name in ("swin3d_t", "swin3d_s", "swin3d_b")),
        ("Swin3D_B_Weights.KINETICS400_IMAGENET22K_V1", "swin3d_b_22k-"),
    ],
)
def test_the_file_of_a_name(name: str, file: str) -> None:
    url = torchvision_url(name)
    assert url.startswith("https://")
    assert url.rpartition("/")[2].startswith(file)


@pytest.mark.parametrize("name", ["resnet51", "ResNet50_Weights.V9", "NoNet_Weights.IMAGENET1K_V1", ""])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ConfigError, match=f"torchvision://{name}: torchvision has no such weights"):
        has_source(f"torchvision://{name}")


def test_without_network_and_cache_the_file_to_place_is_named(cache: Path) -> None:
    wanted = f"https://.*resnet50-0676ba61.pth: cannot be fetched, got .*no route.*put it at {cache}/resnet50-0676"
    with pytest.raises(CheckpointError, match=wanted):
        read_source("torchvision://resnet50")


@pytest.mark.parametrize("content", [b"<html>captive portal</html>", b""])
def test_a_damaged_cache_is_named(cache: Path, content: bytes) -> None:
    cache.mkdir(parents=True)
    (cache / "resnet50-0676ba61.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"hub/checkpoints/resnet50-0676ba61\.pth: its SHA-256 .* with 0676ba61"):
        read_source("torchvision://resnet50")


def test_a_download_is_checked_and_kept(
    cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def fetch(url: str, target: str, hash_prefix: str | None, *, progress: bool) -> None:
        asked.append((url, hash_prefix))
        shutil.copy(file, target)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    digest = digest_of(file)[:8]
    for _ in range(2):
        assert same(read_source(f"https://example.org/a/tsn_20220101-{digest}.pth?download=1"), TENSORS)
    assert same(read_source("https://example.org/plain-20260101.pth"), TENSORS)
    assert asked == [
        (f"https://example.org/a/tsn_20220101-{digest}.pth?download=1", digest),
        ("https://example.org/plain-20260101.pth", None),
    ]


def test_downloads_of_one_name_do_not_stand_for_each_other(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(url: str, target: str, _: str | None, *, progress: bool) -> None:
        torch.save({"a.weight": torch.tensor(len(url))}, target)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    urls = ("https://example.org/first/best.pth", "https://example.org/2/best.pth")
    for url in (*urls, *urls):
        assert read_source(url)["a.weight"] == len(url)
    assert len(list(cache.rglob("best.pth"))) == 2


def test_a_download_that_is_cut_off_is_told(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a chunk Python notices; at a chunk's end nobody does, and what is kept has to be found and removed."""

    def cut_off(*_: object, **__: object) -> None:
        raise http.client.IncompleteRead(b"PK")

    monkeypatch.setattr(torch.hub, "download_url_to_file", cut_off)
    with pytest.raises(CheckpointError, match=r"a\.pth: cannot be fetched, got IncompleteRead"):
        read_source("https://example.org/a.pth")
    monkeypatch.setattr(
        torch.hub, "download_url_to_file", lambda _, target, *__, **___: Path(target).write_bytes(b"PK")
    )
    for digest, told in (("", "damaged"), ("#sha256=00000000", "its SHA-256")):
        with pytest.raises(CheckpointError, match=rf"^https://.*a\.pth, kept at {cache}/of-\w+/a\.pth: {told}"):
            read_source(f"https://example.org/a.pth{digest}")


# --- files, and their digests


@pytest.mark.parametrize("length", [8, 64])
def test_a_digest_that_is_right(file: Path, length: int) -> None:
    assert same(read_source(f"{file}#sha256={digest_of(file)[:length].upper()}"), TENSORS)
    assert same(read_source(f"file://{file}#sha256={digest_of(file)[:length]}"), TENSORS)


def test_a_digest_that_is_wrong_is_found_before_the_file_is_opened(file: Path) -> None:
    file.write_bytes(b"no checkpoint at all")
    with pytest.raises(
        CheckpointError, match=rf"{file}: its SHA-256 begins with {digest_of(file)[:9]}, should with 0{{9}};"
    ):
        read_source(f"{file}#sha256=000000000")


@pytest.mark.parametrize("place", ["https://h/a.pth", "https://h/a.pth?x=1", "a.pth", "s3://b/a.pth"])
@pytest.mark.parametrize("digest", ["#sha256=0123abc", "#SHA256=0123abcd", "#sha256=0123abcd.", "#sha256:0123abcd"])
def test_what_is_meant_as_a_digest_is_not_passed_over(place: str, digest: str) -> None:
    for use in (read_source, has_source, is_weights_file, lambda source: source_for(source, "resnet18")):
        with pytest.raises(
            ConfigError, match=rf"{digest}: a digest, got '{digest}'; it should be #sha256= and 8 to 64"
        ):
            use(place + digest)
    with pytest.raises(ConfigError, match="got '#md5=0123abcd'"):
        read_source("https://h/a.pth#md5=0123abcd")


def test_what_is_a_file_and_what_is_there(file: Path) -> None:
    files = (
        "a.pth",
        "s3://b/a.pt?region=x",
        "a#1.safetensors#sha256=00000000",
        "torchvision://resnet18",
        "https://h/a.pth",
    )
    assert all(is_weights_file(source) for source in files)
    assert not any(is_weights_file(source) for source in ("runs/a", "s3://b/runs/a", "a.pth/epoch-1", "IMAGENET1K_V1"))
    assert has_source(str(file))
    assert has_source(f"{file}#sha256=00000000")
    assert not has_source(f"{file}x.pth")
    assert has_source("https://example.org/a.pth")
    with pytest.raises(CheckpointError, match="no such file"):
        read_source(f"{file}x.pth#sha256=00000000")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, file: Path) -> Iterator[str]:
    """A bucket of a store on this machine with a file in it, and the options that reach it."""
    boto3 = pytest.importorskip("boto3")
    moto_server = pytest.importorskip("moto.server")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="weights")
    client.upload_file(str(file), "weights", "my nets/a.pth")
    client.put_object(Bucket="weights", Key="cut.pth", Body=b"PK")
    yield f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    client.close()
    server.stop()


def test_weights_in_a_store(bucket: str, file: Path) -> None:
    place = f"s3://weights/my nets/a.pth{bucket}"
    assert same(read_source(place), TENSORS)
    assert same(read_source(f"{place}#sha256={digest_of(file)}"), TENSORS)
    assert has_source(place)
    assert not has_source(f"s3://weights/b.pth{bucket}")
    with pytest.raises(CheckpointError, match=r"s3://weights/my nets/a\.pth.*: its SHA-256 begins"):
        read_source(f"{place}#sha256=00000000")
    with pytest.raises(CheckpointError, match=r"s3://weights/b\.pth.*: cannot be fetched"):
        read_source(f"s3://weights/b.pth{bucket}")
    with pytest.raises(CheckpointError, match=r"^s3://weights/cut\.pth.*: damaged"):
        read_source(f"s3://weights/cut.pth{bucket}")


# --- model.pretrained


def test_short_names_are_those_of_the_network() -> None:
    assert source_for("IMAGENET1K_V2", "resnet50") == "torchvision://ResNet50_Weights.IMAGENET1K_V2"
    for other in (None, "a.pth", "s3://b/a.pth", "torchvision://r3d_18"):
        assert source_for(other, "resnet50") == other
    with pytest.raises(ConfigError, match=r"no weights of resnet18, got 'IMAGENET'; torchvision has IMAGENET1K_V1.*or"):
        source_for("IMAGENET", "resnet18")


def test_tsn_from_torchvision(resnet18: dict[str, Tensor]) -> None:
    model = TSNConfig(num_classes=3, backbone="resnet18", pretrained="IMAGENET1K_V1").build()
    assert all(torch.equal(value, resnet18[key]) for key, value in model.backbone.state_dict().items())
    assert model.weights_report is not None
    assert model.weights_report.line().startswith(
        "model.pretrained: torchvision://ResNet18_Weights.IMAGENET1K_V1: 120 "
    )
    assert TSNConfig(num_classes=3, backbone="resnet18").build().weights_report is None


def test_slowfast_from_torchvision_in_both_ways(resnet18: dict[str, Tensor]) -> None:
    config = SlowFastConfig(num_classes=3, depth=18, pretrained="IMAGENET1K_V1", inflation="center")
    kernel = config.build().backbone.slow.layer4[1].get_parameter("conv2.conv.weight")
    assert torch.equal(kernel[:, :, 1], resnet18["layer4.1.conv2.weight"])
    assert not kernel[:, :, ::2].any()
    assert config.without_pretrained().build().weights_report is None
    with pytest.raises(ValidationError, match="no weights of resnet101, got 'KINETICS'"):
        SlowFastConfig(num_classes=3, depth=101, pretrained="KINETICS")


def test_slowfast_from_a_file_with_its_digest(tmp_path: Path) -> None:
    small = {"num_classes": 3, "depth": 18, "width": 8, "channel_ratio": 4}
    source = SlowFastConfig.model_validate(small).build()
    torch.save({"state_dict": source.state_dict()}, tmp_path / "a.pth")
    pretrained = f"{tmp_path / 'a.pth'}#sha256={digest_of(tmp_path / 'a.pth')}"
    model = SlowFastConfig.model_validate({**small, "pretrained": pretrained}).build()
    assert same(dict(model.state_dict()), dict(source.state_dict()))
