"""Kinoray: train, evaluate and run video action recognizers on a Ray cluster.

Importing this package imports neither torch nor ray; the public names below are loaded when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinoray.errors import KinorayError as KinorayError
    from kinoray.recipe import Recipe as Recipe
    from kinoray.recognizer import load_recognizer as load_recognizer

__version__ = "0.1.0"

_PUBLIC = {
    "KinorayError": "kinoray.errors",
    "Recipe": "kinoray.recipe",
    "load_recognizer": "kinoray.recognizer",
}

__all__ = ["KinorayError", "Recipe", "__version__", "load_recognizer"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'kinoray' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
