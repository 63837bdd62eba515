"""What users do with every recognizer: train on two workers, train in bf16, compile, export."""

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "helpers"))

from small_models import KINDS, small_clips, small_config, train_all  # after the path is set

from kinoray.data.views import EvalView
from kinoray.exported.files import MAX_DIFFERENCE, export, export_program
from kinoray.exported.model import Facts
from kinoray.models.kinds import RecognizerConfig

QUICK = ["i3d", "stgcn", "timesformer"]
"""Of three natures; the others take the longer proof."""
QUICK_FIRST = [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind not in QUICK)]

FACTS = Facts(
    classes=("a", "b", "c", "d", "e"),
    view=EvalView.model_validate({"sampling": {"clip_len": 8}, "crop": 32}),
    average="probability",
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks as small as these lose by every other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def config(kind: str) -> RecognizerConfig:
    torch.manual_seed(0)
    return small_config(kind)


@pytest.mark.slow
def test_two_workers_share_every_gradient(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(train_all, (2, KINDS, tmp_path), nprocs=2)
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt") == dict.fromkeys(KINDS, "")


@pytest.mark.parametrize("kind", QUICK_FIRST)
def test_trains_in_bf16(config: RecognizerConfig) -> None:
    model, clips = config.build(), small_clips(config)
    model.eval()
    with torch.no_grad():
        exact = model(clips)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(clips)
    torch.testing.assert_close(rough.float(), exact, atol=0.05 * float(exact.abs().max()), rtol=0.05)

    with torch.autocast("cpu", torch.bfloat16):
        loss = model.train()(clips).float().square().mean()
    loss.backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_compiles_in_one_piece(config: RecognizerConfig) -> None:
    torch.compiler.reset()
    model, clips = config.build().eval(), small_clips(config)
    # What is captured matters, not by what it runs.
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(clips), model(clips), atol=1e-5, rtol=1e-4)
    compiled.train()(clips).square().mean().backward()
    assert all(value.grad is not None for value in model.parameters())


@pytest.mark.parametrize("kind", QUICK_FIRST)
def test_torch_exports_it_for_any_number_of_videos_and_views(config: RecognizerConfig) -> None:
    model, clips = config.build().eval(), small_clips(config)
    graph = export_program(model, clips).module()
    with torch.no_grad():
        for part in (clips[:1], clips[:, :1], clips.repeat(2, 1, *[1] * (clips.ndim - 2))):
            torch.testing.assert_close(graph(part), model(part), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_onnxruntime_computes_the_same(config: RecognizerConfig, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of packages that write ONNX, about one another
        difference = export(config.build().eval(), FACTS, small_clips(config), tmp_path / "model.onnx")
    assert difference < MAX_DIFFERENCE / 50
