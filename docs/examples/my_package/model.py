"""A recognizer."""

from pydantic import Field
from torch import Tensor, nn

from kinoray.models.base import Recognizer
from kinoray.models.kinds import ModelConfig


class MotionNet(Recognizer):
    """Two convolutions over the differences of neighbouring frames."""

    def __init__(self, *, num_classes: int, width: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        self.body = nn.Sequential(
            nn.Conv3d(len(mean), width, (3, 7, 7), stride=(1, 4, 4), padding=(1, 3, 3)),
            nn.ReLU(),
            nn.Conv3d(width, 2 * width, 3, stride=(1, 2, 2), padding=1),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(2 * width, num_classes)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` -> ``(B, D)``."""
        return self.body(clips.diff(dim=2)).mean(dim=(2, 3, 4))

    def forward_head(self, features: Tensor) -> Tensor:
        return self.classifier(features)

    def head(self) -> nn.Module:
        return self.classifier


class MotionNetConfig(ModelConfig):
    """What a recipe says of it."""

    kind: str = "my_package.model:MotionNetConfig"
    width: int = Field(16, gt=0)
    """Channels of the first convolution."""

    def build(self) -> MotionNet:
        return MotionNet(num_classes=self.num_classes, width=self.width, mean=self.mean, std=self.std)
