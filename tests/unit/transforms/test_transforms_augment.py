"""What holds for every augmentation."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from kinoray.transforms.augment import apply_augmentations
from kinoray.transforms.draws import AUGMENT, MIX, clip_rng
from kinoray.transforms.kinds import AUGMENTATIONS, AnyAugmentation

JITTER = {"kind": "colour_jitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
ALL = {
    "colour_jitter": JITTER,
    "grayscale": {"kind": "grayscale", "probability": 1},
    "gaussian_blur": {"kind": "gaussian_blur"},
    "rand_augment": {"kind": "rand_augment", "num_ops": 3, "magnitude": 15},
    "random_erasing": {"kind": "random_erasing", "probability": 1},
    "inverted": {"kind": "own_augmentation:Inverted"},
}
NOTHING = {
    "colour_jitter": {"kind": "colour_jitter"},
    "grayscale": {"kind": "grayscale", "probability": 0},
    "gaussian_blur": {"kind": "gaussian_blur", "sigma": [1e-3, 1e-3]},
    "rand_augment": {"kind": "rand_augment", "op_probability": 0},
    "random_erasing": {"kind": "random_erasing", "probability": 0},
}
SEEDS = np.array([7, 2**64 - 5, 0, 123456789012345678], dtype=np.uint64)


def configs(*values):
    return TypeAdapter(tuple[AnyAugmentation, ...]).validate_python(values)


@pytest.fixture
def batch():
    """(4, 2, 3, 5, 16, 18) uint8, channels last in memory, as a batch of RGB clips is."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (4, 2, 5, 16, 18, 3), dtype=torch.uint8, generator=generator).permute(0, 1, 5, 2, 3, 4)


def test_all_kinds_are_tested():
    assert set(AUGMENTATIONS.kinds) == set(NOTHING) == set(ALL) - {"inverted"}


@pytest.mark.parametrize("name", ALL)
def test_a_clip_comes_out_the_same_in_any_batch(name, batch):
    chain = configs(ALL[name], JITTER)
    together = apply_augmentations(chain, batch, SEEDS)
    assert not torch.equal(together, batch)
    backwards = apply_augmentations(chain, batch.flip(0), SEEDS[::-1])
    torch.testing.assert_close(backwards.flip(0), together, rtol=0, atol=0)
    alone = apply_augmentations(chain, batch[2:3], SEEDS[2:3])
    torch.testing.assert_close(alone[0], together[2], rtol=0, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_all_frames_are_changed_alike(name, batch):
    still = batch[:, :, :, :1].expand_as(batch)
    result = apply_augmentations(configs(ALL[name]), still, SEEDS)
    assert (result == result[:, :, :, :1]).all()


@pytest.mark.parametrize("name", ALL)
def test_frames_keep_their_order(name, batch):
    order = [3, 1, 4, 0, 2]
    chain = configs(ALL[name])
    shuffled = apply_augmentations(chain, batch[:, :, :, order], SEEDS)
    difference = shuffled.int() - apply_augmentations(chain, batch, SEEDS)[:, :, :, order].int()
    # A mean over the clip is summed in another order.
    assert difference.abs().max() <= 1


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_shape_dtype_range_and_order_in_memory_stay(name, dtype, batch):
    clips = batch.to(dtype)
    before = clips.clone()
    result = apply_augmentations(configs(ALL[name]), clips, SEEDS)
    assert (result.shape, result.dtype, result.stride()) == (clips.shape, dtype, clips.stride())
    assert torch.equal(clips, before)
    assert result.min() >= 0
    assert result.max() <= 255


@pytest.mark.parametrize("name", NOTHING)
def test_at_no_strength_nothing_changes(name, batch):
    assert torch.equal(apply_augmentations(configs(NOTHING[name]), batch, SEEDS), batch)


@pytest.mark.parametrize("name", ALL)
def test_uint8_is_the_rounded_float(name, batch):
    chain = configs(ALL[name], JITTER)
    levels = apply_augmentations(chain, batch, SEEDS)
    exact = apply_augmentations(chain, batch.float(), SEEDS)
    assert (levels.float() - exact).abs().max() <= 0.501


@pytest.mark.parametrize("name", ["colour_jitter", "rand_augment", "random_erasing"])
def test_views_of_a_video_differ(name, batch):
    twice = batch[:, :1].expand(-1, 2, -1, -1, -1, -1)
    result = apply_augmentations(configs(ALL[name]), twice, SEEDS)
    assert not any(torch.equal(*views) for views in result)


def test_an_augmentation_draws_by_its_place_in_the_list(batch):
    """What is added at the end, and what is rarely applied, changes nothing of those before."""
    longer = apply_augmentations(configs(JITTER, {"kind": "grayscale", "probability": 0}), batch, SEEDS)
    assert torch.equal(longer, apply_augmentations(configs(JITTER), batch, SEEDS))
    same_twice = [{"kind": "random_erasing", "probability": 1, "fill": fill} for fill in (0, 255)]
    result = apply_augmentations(configs(*same_twice), batch.clamp(1, 254), SEEDS)
    assert (result == 0).any()
    assert (result == 255).any()


def test_the_share_of_clips_that_is_changed():
    clips = torch.full((300, 1, 3, 1, 8, 8), 10, dtype=torch.uint8)
    chain = configs({"kind": "own_augmentation:Inverted", "probability": 0.3})
    result = apply_augmentations(chain, clips, np.arange(300))
    is_changed = (result == 245).flatten(1).all(1)
    assert 65 < is_changed.sum() < 115
    assert torch.equal(result[~is_changed], clips[~is_changed])


def test_no_augmentation_is_no_work(batch):
    assert apply_augmentations((), batch, SEEDS) is batch


def test_torchs_own_generator_is_left_alone(batch):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    apply_augmentations(configs(*ALL.values()), batch, SEEDS)
    assert torch.equal(torch.get_rng_state(), state)


def test_generators_of_a_clip_are_independent():
    keys = [(AUGMENT, 0, 0), (AUGMENT, 0, 1), (AUGMENT, 1, 0), (MIX,)]
    first = [clip_rng(seed, *key).random() for seed in (0, 1, 2**32, 2**64 - 1) for key in keys]
    assert len(set(first)) == 16
    assert clip_rng(-1, MIX).random() == clip_rng(2**64 - 1, MIX).random()
    assert clip_rng(np.uint64(3), MIX).random() == clip_rng(3, MIX).random()


def test_a_wrong_kind_is_told():
    with pytest.raises(ValidationError, match="no augmentation 'color_jitter'"):
        configs({"kind": "color_jitter"})


def test_recipes_and_decoding_nodes_need_no_torch_for_it():
    code = (
        "import sys; from kinoray.transforms.kinds import AUGMENTATIONS as table;"
        "[table.validate({'kind': kind}) for kind in table.kinds]; sys.exit('torch' in sys.modules)"
    )
    platform = Path(__file__).parents[3] / "platform"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(platform)}, check=False).returncode == 0


@pytest.mark.parametrize("at_once", [3, 8])
def test_clips_that_are_changed_together_come_out_the_same(batch, at_once, monkeypatch):
    """As on a GPU, where each takes its own operations out of a batch; sums in another order move a level by 1."""
    chain = configs(ALL["rand_augment"], {"kind": "grayscale", "probability": 0.5}, JITTER, ALL["random_erasing"])
    alone = apply_augmentations(chain, batch, SEEDS)
    pieces = [slice(first, first + at_once) for first in range(0, 8, at_once)]
    monkeypatch.setattr("kinoray.transforms.augment._pieces", lambda _: pieces)
    assert (apply_augmentations(chain, batch, SEEDS).int() - alone).abs().max() <= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ALL)
def test_a_gpu_gives_the_same_levels_but_for_rounding(name, batch):
    chain = configs(ALL[name])
    on_cpu, on_gpu = (apply_augmentations(chain, batch.to(device), SEEDS).cpu() for device in ("cpu", "cuda"))
    difference = (on_gpu.int() - on_cpu.int()).abs()
    # Posterize, solarize and equalize have steps: where rounding falls on one, a few pixels jump.
    assert (difference > 1).float().mean() < 0.01
