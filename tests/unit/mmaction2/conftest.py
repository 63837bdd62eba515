"""Makes ``helpers`` importable, and gives what translates the text of a config."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "helpers"))

from kinoray.mmaction2.read import Source, read_config

Reader = Callable[..., Source]


@pytest.fixture
def config_file(tmp_path: Path) -> Callable[..., Path]:
    """``config_file(text, name)``: a file of that text."""

    def write(text: str, name: str = "small_2xb4_kinetics.py") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def source_of(config_file: Callable[..., Path]) -> Reader:
    """``source_of(text, name)``: a config of that text, read."""
    return lambda text, name="small_2xb4_kinetics.py": read_config(config_file(text, name))
