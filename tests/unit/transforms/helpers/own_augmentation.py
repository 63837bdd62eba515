from kinoray.transforms.kinds import AugmentationConfig


class Inverted(AugmentationConfig):
    """An augmentation of a user's own, which returns a new tensor."""

    kind: str = "own_augmentation:Inverted"

    def apply(self, clips, rngs):
        assert len(clips) == len(rngs)
        return 255 - clips
