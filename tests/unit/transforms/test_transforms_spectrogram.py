"""Sound as a picture of frames times bands."""

import numpy as np
import pytest
from pydantic import ValidationError

from kinoray.transforms.spectrogram import SpectrogramConfig, band_filters, spectrogram

CONFIG = SpectrogramConfig()


def tone(hertz, seconds=1.0, *, rate=CONFIG.rate, level=0.3):
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def test_frames_and_bands():
    levels = spectrogram(tone(440), CONFIG)
    assert levels.shape == (1 + 16_000 // 256, 80)
    assert levels.dtype == np.float32
    assert 0 <= levels.min() < levels.max() <= 1
    assert CONFIG.fps == 62.5


@pytest.mark.parametrize("hertz", [300, 1000, 2500, 6000])
def test_a_tone_shows_in_its_band(hertz):
    loudest = spectrogram(tone(hertz), CONFIG)[10:-10].mean(axis=0).argmax()
    bins_hz = np.fft.rfftfreq(CONFIG.window, 1 / CONFIG.rate)
    centre_hz = bins_hz[band_filters(CONFIG)[loudest].argmax()]
    assert abs(centre_hz - hertz) <= max(31.25, 0.06 * hertz)


def test_a_tone_shows_when_it_sounds():
    samples = np.concatenate([np.zeros(16_000, np.float32), tone(1000)])
    levels = spectrogram(samples, CONFIG).max(axis=1)
    assert levels[:60].max() < 0.2
    assert levels[66:].min() > 0.5


def test_loud_or_low_is_all_the_same():
    np.testing.assert_allclose(
        spectrogram(tone(500, level=0.9), CONFIG), spectrogram(tone(500, level=0.009), CONFIG), atol=1e-4
    )


def test_silence_is_not_amplified():
    quiet = np.random.default_rng(0).normal(0, 1e-6, 16_000).astype(np.float32)
    assert spectrogram(quiet, CONFIG).max() < spectrogram(1e6 * quiet, CONFIG).max() - 0.2
    assert not spectrogram(np.zeros(16_000, np.float32), CONFIG).any()


def test_less_than_a_window_is_a_frame():
    assert spectrogram(tone(1000, 0.01), CONFIG).shape == (1, 80)


def test_bands_are_triangles_of_equal_area():
    config = SpectrogramConfig(window=8192, hop=256)
    filters = band_filters(config)
    assert filters.shape == (80, 4097)
    assert filters.min() == 0
    np.testing.assert_allclose(filters.sum(axis=1) * config.rate / config.window, 1, rtol=0.01)
    sounding = np.flatnonzero(filters.any(axis=0)) * config.rate / config.window
    assert sounding.min() >= config.low_hz
    assert sounding.max() <= config.high_hz


def test_settings_have_to_fit():
    assert spectrogram(tone(440), SpectrogramConfig(num_bands=20, hop=400)).shape == (41, 20)
    with pytest.raises(ValidationError, match="high_hz, got 9000"):
        SpectrogramConfig(high_hz=9000)
    with pytest.raises(ValidationError, match="high_hz, got 100"):
        SpectrogramConfig(high_hz=100)
    with pytest.raises(ValidationError, match="num_bands, got 400"):
        SpectrogramConfig(num_bands=400)
