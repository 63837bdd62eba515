"""Sound as a picture: how loud each band of frequencies is at each time, on the scales of hearing.

No torch here: this runs where recordings are read.

Source: arXiv 2001.08740 (spectrograms for recognizing actions). Rates, bands and levels are those of MMAction2's
build_audio_features at 4d6c934; its windows are another library's, so numbers are near, not equal.
"""

from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from kinoray.config.base import Config

LOUDNESS = 0.1
"""Root mean square that every recording is brought to, so that loud ones are not other classes."""
QUIETEST = 1e-4
"""Root mean square below which a recording is taken for silence, and not amplified."""
RANGE_DB = 100.0
REFERENCE_DB = 20.0
"""A level of so many decibels becomes 1, and one RANGE_DB below it 0."""
_SMALL = 1e-5


class SpectrogramConfig(Config):
    """How sound becomes a spectrogram."""

    rate: int = Field(16_000, ge=4_000, le=96_000)
    """Samples per second that sound is brought to."""
    window: int = Field(512, ge=16)
    """Samples that a frame is computed from."""
    hop: int = Field(256, gt=0)
    """Samples from one frame to the next."""
    num_bands: int = Field(80, gt=0)
    """F, bands of frequencies."""
    low_hz: float = Field(125.0, ge=0)
    """Where the first band begins."""
    high_hz: float = Field(7_600.0, gt=0)
    """Where the last band ends."""

    @model_validator(mode="after")
    def _bands_can_be_told_apart(self) -> Self:
        if not self.low_hz < self.high_hz <= self.rate / 2:
            raise ValueError(
                f"high_hz, got {self.high_hz:g}; it should be above low_hz ({self.low_hz:g}) and at most half of rate "
                f"({self.rate / 2:g})"
            )
        if not band_filters(self).any(axis=1).all():
            raise ValueError(
                f"num_bands, got {self.num_bands}; some would hold no frequency at a window of {self.window}; "
                "use fewer bands or a longer window"
            )
        return self

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.rate / self.hop


def spectrogram(samples: NDArray[np.float32], config: SpectrogramConfig) -> NDArray[np.float32]:
    """``(S,)`` samples -> ``(T, F)`` levels from 0 to 1; T = 1 + S // hop."""
    level = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    samples = samples * np.float32(LOUDNESS / max(QUIETEST, level))
    padded = np.pad(samples, config.window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, config.window)[:: config.hop]
    magnitudes = np.abs(np.fft.rfft(frames * np.hanning(config.window + 1)[:-1].astype(np.float32), axis=1))
    bands = magnitudes @ band_filters(config).T
    levels = 20 * np.log10(np.maximum(bands, _SMALL)) - REFERENCE_DB
    return np.clip(levels / RANGE_DB + 1, 0, 1).astype(np.float32)


@lru_cache(maxsize=4)
def band_filters(config: SpectrogramConfig) -> NDArray[np.float64]:
    """``(F, window // 2 + 1)``: triangles of equal area, evenly spaced on the mel scale. Source: Slaney's toolbox."""
    edges_hz = _from_mel(np.linspace(_to_mel(config.low_hz), _to_mel(config.high_hz), config.num_bands + 2))
    bins_hz = np.fft.rfftfreq(config.window, 1 / config.rate)
    low, centre, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    triangles = np.minimum((bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre))
    filters: NDArray[np.float64] = np.maximum(triangles, 0) * 2 / (high - low)
    return filters


# Linear up to 1000 Hz, 15 mel; from there 27 mel for a factor of 6.4.
_BEND_HZ, _BEND_MEL, _STEP = 1000.0, 15.0, np.log(6.4) / 27


def _to_mel(hertz: float) -> float:
    if hertz < _BEND_HZ:
        return hertz * _BEND_MEL / _BEND_HZ
    return float(_BEND_MEL + np.log(hertz / _BEND_HZ) / _STEP)


def _from_mel(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _BEND_HZ * np.exp(_STEP * (mel - _BEND_MEL))
    hertz: NDArray[np.float64] = np.where(mel < _BEND_MEL, mel * _BEND_HZ / _BEND_MEL, above)
    return hertz
