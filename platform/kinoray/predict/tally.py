"""What the work took. No torch here: processes that decode import this."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tally:
    """What a batch, or several, took.

    Attributes:
        decode_seconds: CPU time of threads that read.
        model_seconds: wall time in the model.
        video_seconds: length of the videos.
    """

    num_videos: int = 0
    decode_seconds: float = 0.0
    model_seconds: float = 0.0
    video_seconds: float = 0.0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.num_videos + other.num_videos,
            self.decode_seconds + other.decode_seconds,
            self.model_seconds + other.model_seconds,
            self.video_seconds + other.video_seconds,
        )
