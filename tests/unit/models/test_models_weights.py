import pytest
import torch
import torchvision
from torch import Tensor

from kinoray.errors import CheckpointError
from kinoray.models.slowfast import SlowFast, SlowFastConfig
from kinoray.models.tsn import TSNConfig
from kinoray.models.weights import load_weights, rename_keys, warm_start


def small(num_classes: int = 3, width: int = 8) -> SlowFast:
    return SlowFastConfig(num_classes=num_classes, depth=18, width=width, channel_ratio=4).build()


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


# --- rename_keys


def test_rules_are_applied_in_turn() -> None:
    rules = [(r"^backbone\.", "trunk."), (r"layer(\d)\.", r"stage\1."), (r"^trunk\.stage1\.", "first.")]
    renamed = rename_keys({"backbone.layer1.a": torch.tensor(1), "head.a": torch.tensor(2)}, rules)
    assert same(renamed, {"first.a": torch.tensor(1), "head.a": torch.tensor(2)})


def test_two_keys_must_not_become_one() -> None:
    with pytest.raises(CheckpointError, match=r"b\.x: becomes c\.x, as a\.x does"):
        rename_keys({"a.x": torch.zeros(1), "b.x": torch.zeros(1)}, [("^[ab]", "c")])


def test_a_tensor_may_have_several_places_or_none() -> None:
    rules = [(r"^attn", ("time", "space")), (r"^table$", ()), (r"^time\.", "block.time.")]
    given = {"attn.a": torch.tensor(1), "table": torch.tensor(2), "head.a": torch.tensor(3)}
    renamed = rename_keys(given, rules)
    assert list(renamed) == ["block.time.a", "space.a", "head.a"]
    assert renamed["block.time.a"] is renamed["space.a"] is given["attn.a"]


# --- load_weights


def test_same_label_set_loads_everything() -> None:
    source, model = small(), small()
    report = load_weights(model, source.state_dict(), where="file.pth")
    assert same(dict(model.state_dict()), dict(source.state_dict()))
    assert report.loaded == tuple(source.state_dict())
    assert (report.names, report.fresh, report.unused) == ("", {}, ())


def test_another_label_set_keeps_the_head() -> None:
    source, model = small(num_classes=7), small()
    head = {key: value.clone() for key, value in model.head().state_dict().items()}
    report = load_weights(model, source.state_dict(), where="file.pth")

    assert list(report.fresh) == ["fc.weight", "fc.bias"]
    assert len(report.loaded) == len(source.state_dict()) - 2
    assert same(dict(model.head().state_dict()), head)
    assert same(dict(model.backbone.state_dict()), dict(source.backbone.state_dict()))


def test_half_precision_file_is_widened() -> None:
    source, model = small(), small()
    load_weights(model, {key: value.half() for key, value in source.state_dict().items()}, where="file.pth")
    assert model.fc.weight.dtype == torch.float32
    torch.testing.assert_close(model.fc.weight, source.fc.weight, atol=1e-4, rtol=1e-3)


def test_counters_of_batch_norm_may_be_missing() -> None:
    source, model = small(), small()
    given = {key: value for key, value in source.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert load_weights(model, given, where="file.pth").loaded == tuple(given)


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        ((r"^fc\.bias", "gone"), "1 key missing: fc.bias; 1 key unexpected: gone;"),
        (
            (r"^backbone", "trunk"),
            r"missing: (backbone\.\S+, ){3}\.\.\.; \d+ keys unexpected: (trunk\.\S+, ){3}\.\.\.;",
        ),
    ],
)
def test_other_keys_are_named_and_nothing_is_loaded(rename: tuple[str, str], message: str) -> None:
    model = small()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    given = rename_keys(small().state_dict(), [rename])

    with pytest.raises(
        CheckpointError, match=f"file.pth: weights do not fit SlowFast, got .*{message}.*family or size"
    ):
        load_weights(model, given, where="file.pth")
    assert same(dict(model.state_dict()), before)


@pytest.mark.parametrize("num_classes", [3, 7])
def test_another_size_is_named_with_its_shapes(num_classes: int) -> None:
    with pytest.raises(CheckpointError, match=r"of another shape: \S+ 4x3x5x7x7, here 2x3x5x7x7"):
        load_weights(small(), small(num_classes, width=16).state_dict(), where="file.pth")


# --- warm_start


@pytest.fixture(scope="module")
def imagenet() -> dict[str, Tensor]:
    """torchvision's, with random weights."""
    return torchvision.models.resnet18().state_dict()


def test_a_network_of_pictures_starts_the_slow_pathway(imagenet: dict[str, Tensor]) -> None:
    model = SlowFastConfig(num_classes=3, depth=18).build()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = warm_start(model, imagenet, where="weights")

    after = model.state_dict()
    # Its input is wider by what the fast pathway joins, so that this shortcut is a convolution only here.
    slow = {key for key in after if key.startswith("backbone.slow.") and ".layer1.0.downsample." not in key}
    assert set(report.loaded) == {key for key in slow if ".bn." in key}
    assert set(report.adapted) == {key for key in slow if ".conv." in key}
    assert set(report.fresh) == {k for k in after if k not in slow and not k.endswith("num_batches_tracked")}
    assert set(report.fresh.values()) == {"not in the file"}
    assert report.unused == ("fc.weight", "fc.bias")
    assert report.names == "torchvision"
    assert all(torch.equal(after[key], before[key]) for key in report.fresh)

    joined = after["backbone.slow.layer2.0.conv1.conv.weight"]
    assert torch.equal(joined[:, :64, 0], imagenet["layer2.0.conv1.weight"])
    assert not joined[:, 64:].any()
    long = after["backbone.slow.layer3.0.conv2.conv.weight"]
    torch.testing.assert_close(long, imagenet["layer3.0.conv2.weight"][:, :, None].expand(-1, -1, 3, -1, -1) / 3)
    assert torch.equal(after["backbone.slow.conv1.bn.running_var"], imagenet["bn1.running_var"])
    assert torch.equal(after["backbone.slow.layer2.0.downsample.bn.weight"], imagenet["layer2.0.downsample.1.weight"])


def test_kernels_on_the_middle_frame(imagenet: dict[str, Tensor]) -> None:
    model = SlowFastConfig(num_classes=3, depth=18).build()
    warm_start(model, imagenet, where="weights", inflation="center")
    kernel = model.state_dict()["backbone.slow.layer3.0.conv1.conv.weight"]
    assert torch.equal(kernel[:, :128, 1], imagenet["layer3.0.conv1.weight"])
    assert not kernel[:, :, ::2].any()


@pytest.mark.parametrize("num_channels", [3, 10])
def test_a_network_of_pictures_starts_tsn(imagenet: dict[str, Tensor], num_channels: int) -> None:
    grey = (128.0,) * num_channels
    model = TSNConfig(num_classes=1000, backbone="resnet18", mean=grey, std=grey).build()
    head = model.fc.weight.clone()
    report = warm_start(model, imagenet, where="weights")

    assert list(report.fresh) == ["fc.weight", "fc.bias"]
    assert torch.equal(model.fc.weight, head)  # a thousand classes, but of another kind
    assert report.adapted == (() if num_channels == 3 else ("backbone.conv1.weight",))
    stem = model.state_dict()["backbone.conv1.weight"]
    wanted = imagenet["conv1.weight"]
    torch.testing.assert_close(stem, wanted if num_channels == 3 else wanted.mean(1, keepdim=True).expand_as(stem))


def test_names_of_mmaction2_are_known() -> None:
    source, model = small(num_classes=7), small()
    back = (
        (r"^backbone\.laterals\.0\.", "backbone.slow_path.conv1_lateral.conv."),
        (r"^backbone\.laterals\.(\d)\.", r"backbone.slow_path.layer\1_lateral.conv."),
        (r"^backbone\.(slow|fast)\.", r"backbone.\1_path."),
        (r"^fc\.", "cls_head.fc_cls."),
    )
    report = warm_start(model, rename_keys(source.state_dict(), back), where="file.pth")
    assert report.names == "MMAction2"
    assert same(dict(model.backbone.state_dict()), dict(source.backbone.state_dict()))
    assert report.fresh["fc.weight"] == "7x80 in the file, 3x80 here"
    assert load_weights(small(7), rename_keys(source.state_dict(), back), where="file.pth").names == "MMAction2"


def test_what_is_missing_or_of_another_shape_stays_fresh() -> None:
    source, model = small(), small()
    given = dict(source.state_dict())
    gone = [key for key in given if key.startswith("backbone.fast.layer1")]
    for key in gone:
        del given[key]
    given |= {"backbone.laterals.0.weight": torch.zeros(4, 2, 7, 1, 1), "extra.weight": torch.zeros(1)}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = warm_start(model, given, where="file.pth")

    told = [key for key in gone if not key.endswith("num_batches_tracked")]
    assert set(report.fresh) == {*told, "backbone.laterals.0.weight"}
    assert report.fresh["backbone.laterals.0.weight"] == "4x2x7x1x1 in the file, 4x2x5x1x1 here"
    assert report.unused == ("extra.weight",)
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in report.fresh)
    assert torch.equal(model.fc.weight, source.fc.weight)


def test_too_little_is_refused_and_nothing_is_loaded() -> None:
    source, model = small(), small()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    part = {key: value for key, value in source.state_dict().items() if ".slow.layer4." not in key}
    with pytest.raises(
        CheckpointError, match=r"file\.pth: weights fit (\d|[1-4]\d)% of the trunk of SlowFast.*missing"
    ):
        warm_start(model, part, where="file.pth")
    with pytest.raises(CheckpointError, match=r"fit 0% .*1 key unexpected: a\.weight"):
        warm_start(model, {"a.weight": torch.zeros(1)}, where="file.pth")
    assert same(dict(model.state_dict()), before)


def test_the_report_in_words(imagenet: dict[str, Tensor]) -> None:
    model = TSNConfig(num_classes=3, backbone="resnet18", mean=(1.0,), std=(1.0,)).build()
    text = warm_start(model, imagenet, where="training.init_from: x.pth").text()
    first, _, *lines = text.splitlines()
    assert first == (
        "training.init_from: x.pth: 119 tensors loaded, 1 adapted, 2 fresh, 2 of the file unused (torchvision's names)"
    )
    assert lines[0] == "loaded:"
    assert "\n\nadapted:\n  backbone.conv1.weight\n\nfresh:\n  fc.weight  (not in the file)\n" in text
    assert text.endswith("\n\nunused:\n  fc.weight\n  fc.bias")
    assert "fresh" not in warm_start(model, model.state_dict(), where="itself").text()


def test_a_head_of_other_classes_stays_fresh_as_a_whole() -> None:
    """Also those of its layers that do not depend on the classes: they were trained for the last one."""

    def deep(num_classes: int) -> SlowFast:
        model = small(num_classes)
        width = model.fc.in_features
        model.fc = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.Linear(width, num_classes))
        return model

    model = deep(5)
    before = {key: value.clone() for key, value in model.fc.state_dict().items()}
    report = warm_start(model, deep(3).state_dict(), where="file.pth")
    assert same(dict(model.fc.state_dict()), before)
    assert report.fresh["fc.0.weight"] == report.fresh["fc.0.bias"] == "head of other classes"
    assert not any(key.startswith("fc.") for key in report.loaded)
