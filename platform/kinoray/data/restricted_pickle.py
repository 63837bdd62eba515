"""Pickles of strangers: NumPy arrays and plain containers are read from them, and nothing in them is ever run.

A pickle is a program that may call whatever it can import. Here it can import nothing: names of NumPy's own makers of
arrays and scalars stand for functions chosen here, and every other name is refused before it is looked up.
"""

import collections
import pickle
from typing import Any, BinaryIO

import numpy as np

from kinoray.errors import DataError


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 2's strings and NumPy's raw bytes are written by old protocols."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text in the encoding {encoding}")
    return text.encode("latin1")


# NumPy 2 moved its modules; its own objects know what makes them, wherever that lies.
_MAKERS: dict[str, Any] = {
    "_reconstruct": np.zeros(1).__reduce__()[0],
    "scalar": np.float64(0).__reduce__()[0],
    "_frombuffer": np.zeros(1).__reduce_ex__(5)[0],
}
_ALLOWED: dict[tuple[str, str], Any] = {
    **{
        (f"numpy.{core}.{module}", name): maker
        for core in ("core", "_core")
        for module in ("multiarray", "numeric")
        for name, maker in _MAKERS.items()
    },
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): collections.OrderedDict,
    # Protocols up to 2 call them as Python 2 did.
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (set, frozenset)},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module_name}.{global_name}") from None


def read_pickle(file: BinaryIO, where: str) -> Any:
    """Read a pickle of arrays, numbers, texts and containers of them.

    Args:
        file: open for reading, at its start.
        where: for messages.

    Raises:
        DataError: it is none, is cut off, or holds anything else.
    """
    try:
        return _Unpickler(file).load()
    except Exception as error:  # a damaged pickle raises whatever it likes
        told = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{where}: no pickle of arrays and plain containers ({told}); it may be cut off, or would run code"
        ) from error
