"""A factor of the learning rate."""

from pydantic import Field

from kinoray.schedules import Moment, ScheduleConfig


class InverseSquareRoot(ScheduleConfig):
    """1 for the first ``flat`` epochs, then falling with the square root of time."""

    kind: str = "my_package.schedule:InverseSquareRoot"
    flat: float = Field(1.0, gt=0)
    """In epochs."""

    def factor(self, at: Moment) -> float:
        flat = self.flat * at.epoch_length
        return min(1.0, (flat / max(at.time, 1)) ** 0.5)
