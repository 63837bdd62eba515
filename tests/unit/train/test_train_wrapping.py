"""Options of training that change how it is computed: what each of them does, and that it changes nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from toy_training import ToyNet, batch_of, train_here

from kinoray.errors import ConfigError, ResourceError
from kinoray.models.slowfast import SlowFastConfig
from kinoray.models.tiny3d import Tiny3DConfig
from kinoray.models.tsn import TSNConfig
from kinoray.recipe import Recipe, TrainingConfig
from kinoray.train.checkpoint import open_checkpoint
from kinoray.train.events import StepsDone
from kinoray.train.learner import Learner, start_learner, train_step
from kinoray.train.world import World
from kinoray.train.wrapping import blocks_of, check_device, check_workers, prepare, wrap

MakeRecipe = Callable[..., Recipe]
TINY = {"model.kind": "tiny3d", "model.num_classes": 3, "model.widths": [8, 8, 16]}
NORMS = [f"{unit}.1" for unit in ("stem", "stages.0", "stages.1")]


def learner_of(recipe: Recipe) -> Learner:
    learner = start_learner(recipe, World())
    learner.model.train()
    return learner


@pytest.fixture
def start(toy_recipe: MakeRecipe, tmp_path: Path) -> Callable[..., Learner]:
    """A learner of tiny3d with settings of ``training`` replaced."""

    def start(**training: object) -> Learner:
        settings = {f"training.{name}": value for name, value in training.items()}
        return learner_of(toy_recipe(TINY | settings))

    return start


def stepped(learner: Learner, num_steps: int = 3) -> list[float]:
    """The losses of some steps at a learning rate that shows in them."""
    for group in learner.optimizer.param_groups:
        group["lr"] = 0.1
    totals = [train_step(learner, batch_of(6, bad=[1], seed=seed))[0] for seed in range(num_steps)]
    return [(total[0] / total[1]).item() for total in totals]


def assert_same_state(one: Learner, other: Learner) -> None:
    expected = other.net.state_dict()
    assert one.net.state_dict().keys() == expected.keys()
    for name, value in one.net.state_dict().items():
        # Float32 in another order of sums; weights and statistics are of the size of 1.
        torch.testing.assert_close(
            value, expected[name], rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name} {text}"
        )


def settings(**training: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"epochs": 1, **training})


# --- the learning rate of a batch


def test_the_rate_of_a_step_is_scaled_to_the_batch(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = toy_recipe({"training.epochs": 1, "optimizer.base_batch_size": 24})
    events = train_here(recipe, tmp_path / "scaled")
    assert {event.lr for event in events if isinstance(event, StepsDone)} == {0.05 * 6 / 24}
    train_here(toy_recipe({"training.epochs": 1, "optimizer.lr": 0.05 * 6 / 24}), tmp_path / "plain")
    scaled, plain = (open_checkpoint(tmp_path / name).weights() for name in ("scaled", "plain"))
    assert all(torch.equal(value, plain[name]) for name, value in scaled.items())


# --- frozen parameters


def test_what_is_frozen_stands_still(start: Callable[..., Learner]) -> None:
    learner = start(freeze=["^stem", r"^stages\.0\.0"])
    before = {name: value.clone() for name, value in learner.net.state_dict().items()}
    stepped(learner, 2)
    moved = {name for name, value in learner.net.state_dict().items() if not torch.equal(value, before[name])}
    frozen = {name for name in before if name.startswith("stem.")} | {"stages.0.0.weight"}
    assert moved == set(before) - frozen  # the running statistics of the stem's norm stand still too
    trained = {id(parameter) for group in learner.optimizer.param_groups for parameter in group["params"]}
    names = {name for name, parameter in learner.net.named_parameters() if id(parameter) in trained}
    assert names == {name for name, _ in learner.net.named_parameters()} - frozen


def test_frozen_parts_stay_in_evaluation(start: Callable[..., Learner]) -> None:
    net = start(freeze=["^stem", r"^stages\.0\.0"]).net
    for _ in range(2):
        net.train()
        assert net.training
        assert [net.get_submodule(name).training for name in NORMS] == [False, True, True]
        assert not net.stem.training
        net.eval()
        assert not any(module.training for module in net.modules())


def test_a_net_without_trained_parameters_does_not_train() -> None:
    net = ToyNet(num_classes=3, norm="batch", dropout=0.5).requires_grad_(False).train()
    assert not any(module.training for module in net.modules())


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (
            ["^stem", "^steam"],
            r"training\.freeze\.1: fits none of the model's parameters, got '\^steam'; .* stem\.0\.w",
        ),
        (
            ["^stem", ""],
            r"training\.freeze: fits all of the model's parameters, got '\^stem', ''; .* something to train",
        ),
    ],
)
def test_freezing_nothing_or_everything_is_refused(patterns: list[str], message: str) -> None:
    """Before any wrapping: DDP would say something else."""
    with pytest.raises(ConfigError, match=message):
        prepare(Tiny3DConfig(num_classes=3).build(), settings(freeze=patterns), World())


def test_a_pattern_must_be_an_expression(toy_recipe: MakeRecipe) -> None:
    with pytest.raises(ConfigError, match=r"training\.freeze\.0: got '\(', no regular expression"):
        toy_recipe({"training.freeze": ["("]})


# --- batch norms over all workers


def test_sync_batch_norm_needs_gpus_for_several_workers() -> None:
    training = settings(sync_batch_norm=True)
    with pytest.raises(ConfigError, match=r"training\.sync_batch_norm: got true on 2 workers without GPUs"):
        check_workers(training, num_workers=2, on_gpu=False)
    check_workers(training, num_workers=1, on_gpu=False)
    check_workers(training, num_workers=2, on_gpu=True)


@pytest.mark.parametrize(("num_workers", "kind"), [(1, nn.BatchNorm3d), (2, nn.SyncBatchNorm)])
def test_sync_batch_norm_takes_the_place_of_batch_norm(num_workers: int, kind: type[nn.Module]) -> None:
    net, plain = (Tiny3DConfig(num_classes=3).build() for _ in range(2))
    net.load_state_dict(plain.state_dict())
    prepare(net, settings(sync_batch_norm=True), World(0, num_workers))
    assert all(type(net.get_submodule(name)) is kind for name in NORMS)
    assert net.state_dict().keys() == plain.state_dict().keys()
    clips = batch_of(2).on(torch.device("cpu"))[0]
    assert torch.equal(net.eval()(clips), plain.eval()(clips))


# --- memory


def test_channels_last_orders_the_weights_alone(start: Callable[..., Learner]) -> None:
    ordered, plain = start(channels_last=True), start()
    assert stepped(ordered) == pytest.approx(stepped(plain), rel=1e-5)
    assert_same_state(ordered, plain)
    weights = [module.weight for module in ordered.net.modules() if isinstance(module, nn.Conv3d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last_3d) for weight in weights)
    assert not any(weight.is_contiguous() for weight in weights)


def test_channels_last_knows_two_dimensions() -> None:
    net = TSNConfig(num_classes=3, backbone="resnet18").build()
    prepare(net, settings(channels_last=True), World())
    assert net.backbone.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_activations_are_computed_again_and_nothing_else_changes(start: Callable[..., Learner]) -> None:
    sparing, plain = start(activation_checkpointing=True), start()
    assert stepped(sparing) == stepped(plain)
    for (name, value), expected in zip(sparing.net.state_dict().items(), plain.net.state_dict().values(), strict=True):
        assert torch.equal(value, expected), name  # running statistics and their counts too


def test_activations_are_not_kept(start: Callable[..., Learner]) -> None:
    sparing, plain = start(activation_checkpointing=True), start()
    assert kept_bytes(sparing) < 0.5 * kept_bytes(plain)


def kept_bytes(learner: Learner) -> int:
    """What a forward keeps for backward besides its input and the weights."""
    kept: dict[int, Tensor] = {}  # held, so that no memory is used twice
    clips = batch_of(6).on(torch.device("cpu"))[0]

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter) and tensor.numel() != clips.numel():
            kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        learner.model(clips)
    return sum(tensor.numel() * tensor.element_size() for tensor in kept.values())


def test_a_model_without_blocks_cannot_compute_them_again(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.activation_checkpointing: ToyNet does not name its blocks"):
        learner_of(toy_recipe({"training.activation_checkpointing": True}))


def test_blocks_are_residual_blocks_or_small_stages() -> None:
    tiny = Tiny3DConfig(num_classes=3).build()
    assert blocks_of(tiny) == [tiny.stem, *tiny.stages]
    tsn = TSNConfig(num_classes=3, backbone="resnet18").build()
    assert blocks_of(tsn) == [block for number in range(1, 5) for block in tsn.backbone.get_submodule(f"layer{number}")]
    slowfast = SlowFastConfig(num_classes=3, depth=18, width=16).build()
    assert len(blocks_of(slowfast)) == 2 * (1 + 8)
    assert blocks_of(ToyNet(num_classes=3, norm="batch", dropout=0.0)) == []


class Scaled(nn.Module):
    """A block that takes something by name, and that torch does not compile in one piece."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8)

    def forward(self, x: Tensor, *, scale: float) -> Tensor:
        x = self.conv(x)
        torch._dynamo.graph_break()
        return self.norm(x) * scale


class BlockNet(ToyNet):
    def __init__(self) -> None:
        super().__init__(num_classes=3, norm="batch", dropout=0.0)
        self.block, self.layers = Scaled(), nn.ModuleList([nn.Conv3d(8, 8, 1), nn.BatchNorm3d(8)])
        self.fc = nn.Linear(8, 3)

    def forward_features(self, clips: Tensor) -> Tensor:
        x = self.block(clips, scale=2.0)
        for layer in self.layers:
            x = layer(x)
        return x.mean(dim=(2, 3, 4))

    def parts_by_depth(self) -> list[list[nn.Module]]:
        return [[self.block], [self.layers]]


def test_a_list_of_layers_is_no_block() -> None:
    """It has no forward that could be called again, and cannot be sharded."""
    net = BlockNet()
    assert blocks_of(net) == [net.block]


@pytest.mark.filterwarnings("default")  # torch warns of what it does itself
@pytest.mark.parametrize("is_compiled", [False, True])
def test_blocks_of_any_kind_are_computed_again(is_compiled: bool) -> None:
    torch.compiler.reset()
    torch.manual_seed(0)
    sparing, plain = BlockNet().train(), BlockNet().train()
    sparing.load_state_dict(plain.state_dict())
    wrap(sparing, None, settings(activation_checkpointing=True), World())
    if is_compiled:
        sparing.compile(backend="eager")  # what is compiled matters here, not by what
    clips = batch_of(6).on(torch.device("cpu"))[0]
    for net in (sparing, plain):
        net(clips).square().sum().backward()
    for (name, value), expected in zip(sparing.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(value, expected), name
    for value, expected in zip(sparing.parameters(), plain.parameters(), strict=True):
        if expected.grad is not None:
            torch.testing.assert_close(value.grad, expected.grad)


# --- compiling


def test_compiling_keeps_the_names(start: Callable[..., Learner]) -> None:
    """Torch compiles at the first call; that it does is a longer test."""
    compiled, plain = start(compile="default", ema_decay=0.9), start(ema_decay=0.9)
    assert compiled.net._compiled_call_impl is not None
    assert compiled.result._compiled_call_impl is not None
    assert plain.net._compiled_call_impl is None
    assert_same_state(compiled, plain)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("sparing", [False, True])
def test_compiled_code_computes_the_same(start: Callable[..., Learner], sparing: bool) -> None:
    torch.compiler.reset()
    compiled, plain = start(compile="default", activation_checkpointing=sparing), start()
    assert stepped(compiled) == pytest.approx(stepped(plain), rel=1e-4)
    assert_same_state(compiled, plain)
    clips = batch_of(3, seed=9).on(torch.device("cpu"))[0]
    with torch.inference_mode():
        torch.testing.assert_close(compiled.result.eval()(clips), plain.result.eval()(clips), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("mode", ["reduce-overhead", "max-autotune"])
def test_gradients_of_parts_do_not_add_up_in_graphs(toy_recipe: MakeRecipe, mode: str) -> None:
    with pytest.raises(ConfigError, match=f"compile, got {mode} with micro_batches 2; it should be default"):
        toy_recipe({"training.compile": mode, "training.micro_batches": 2})
    assert toy_recipe({"training.compile": mode}).training.compile == mode
    assert toy_recipe({"training.compile": "default", "training.micro_batches": 2}).training.micro_batches == 2


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cpu", r"training\.compile: needs the C\+\+ compiler absent\+\+, which"),
        ("cuda", r"training\.compile: needs triton and the C compiler absentcc, which"),
    ],
)
def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch, device: str, message: str) -> None:
    monkeypatch.setenv("CXX", "absent++")
    monkeypatch.setenv("CC", "absentcc")
    with pytest.raises(ResourceError, match=message):
        check_device(settings(compile="default"), torch.device(device))
    check_device(settings(), torch.device(device))


@pytest.mark.parametrize("found", ["gcc", "clang"])
def test_triton_takes_either_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: str) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    training = settings(compile="default")
    with pytest.raises(ResourceError, match="the C compiler gcc or clang, which"):
        check_device(training, torch.device("cuda"))
    (tmp_path / found).touch(mode=0o755)
    monkeypatch.setattr("kinoray.train.wrapping.find_spec", lambda name: name)
    check_device(training, torch.device("cuda"))


def test_bf16_is_refused_where_it_would_be_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    with pytest.raises(ResourceError, match="got bf16, which Old GPU does not compute in; take fp16"):
        check_device(settings(precision="bf16"), torch.device("cuda"))
    check_device(settings(precision="fp16"), torch.device("cuda"))
    check_device(settings(precision="bf16"), torch.device("cpu"))


# --- several workers


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"precision": "fp16"}, "precision fp16"),
        ({"channels_last": True}, "channels_last"),
        ({"ddp": {"send_bf16": True}}, "ddp"),
    ],
)
def test_sharding_does_not_go_with_everything(toy_recipe: MakeRecipe, other: dict, named: str) -> None:
    values = {f"training.{name}": value for name, value in other.items()}
    with pytest.raises(ConfigError, match=f"sharding, got full with {named}"):
        toy_recipe({"training.sharding": "full"} | values)


def test_one_worker_has_nothing_to_share(start: Callable[..., Learner]) -> None:
    learner = start(sharding="full")
    assert learner.model is learner.net
    assert stepped(learner) == stepped(start())
