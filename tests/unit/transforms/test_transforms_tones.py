"""What RandAugment's own strengths do not reach; the rest is tested there."""

import torch
from torchvision.transforms.v2 import functional as reference

from kinoray.transforms.tones import autocontrast_, equalize_, posterize_


def test_every_number_of_bits_is_torchvisions(clips):
    for bits in range(9):
        changed = clips.clone()
        posterize_(changed, [bits] * 3)
        assert torch.equal(changed.to(torch.uint8), reference.posterize(clips.to(torch.uint8), bits))


def test_posterize_rounds_what_other_operations_left():
    nearly = torch.full((1, 3, 1, 1, 1), 127.9999)
    posterize_(nearly, [4])
    assert set(nearly.flatten().tolist()) == {128.0}


def test_equalized_levels_are_spread_evenly():
    dark = (torch.arange(256.0) / 8).expand(1, 3, 2, 16, 256).clone()
    equalize_(dark)
    assert len(set(dark.flatten().tolist())) == 33
    assert 120 < dark.mean() < 135
    assert dark.max() == 255


def test_channels_of_one_level_stay():
    for change in (equalize_, autocontrast_):
        clips = torch.full((1, 3, 2, 8, 8), 31.0)
        clips[:, 1] = 0
        before = clips.clone()
        change(clips)
        assert torch.equal(clips, before)


def test_the_whole_clip_is_stretched_alike():
    """Frame by frame, a fade to black would be undone."""
    fade = torch.stack([torch.full((8, 8), level) for level in (200.0, 150.0, 100.0)]).expand(1, 3, 3, 8, 8).clone()
    autocontrast_(fade)
    assert [round(level) for level in fade[0, 0, :, 0, 0].tolist()] == [255, 128, 0]
