"""Pictures and heatmaps of a clip in one tensor."""

import torch

from kinoray.transforms.paired import paired, unpaired


def test_what_is_paired_comes_apart_again() -> None:
    pictures = torch.arange(2 * 3 * 2 * 8 * 12).float().view(2, 3, 2, 8, 12)
    heatmaps = torch.arange(2 * 5 * 6 * 2 * 3).float().view(2, 5, 6, 2, 3)

    clips = paired(pictures, heatmaps)
    apart = unpaired(clips, num_channels=3, num_maps=5)

    assert clips.shape == (2, 16 * 3 + 5 * 3, 2, 2, 3)
    assert torch.equal(apart[0], pictures)
    assert torch.equal(apart[1], heatmaps)


def test_each_place_holds_its_own_pixels_and_the_heatmaps_of_its_own_frames() -> None:
    pictures, heatmaps = torch.zeros(1, 1, 2, 8, 8), torch.zeros(1, 1, 8, 2, 2)
    pictures[0, 0, 1, 5, 2] = 1.0  # of the second picture, in the lower left block
    heatmaps[0, 0, 3, 0, 1] = 2.0  # the last of those beside the first picture

    clips = paired(pictures, heatmaps)

    assert clips[0, :16, 1, 1, 0].sum() == clips[0, :16].sum() == 1
    assert clips[0, 16 + 3, 0, 0, 1] == clips[0, 16:].sum() == 2
