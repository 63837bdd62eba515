"""Random numbers that belong to one clip: whatever else is in its batch, it draws the same."""

import numpy as np

AUGMENT, MIX = 0, 1
"""First number of the key: what draws. The view itself (``TrainView``) draws without a key."""


def clip_rng(clip_seed: int, *key: int) -> np.random.Generator:
    """A generator for one purpose; those of other keys and of other seeds are independent of it.

    Args:
        clip_seed: of a plan row; any 64 bits, signed or not.
        key: at least one number.
    """
    return np.random.default_rng(np.random.SeedSequence(int(clip_seed) & (2**64 - 1), spawn_key=key))
