"""Pickles of strangers: arrays are read, nothing is run."""

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from kinoray.data.restricted_pickle import read_pickle
from kinoray.errors import DataError

PLAIN = {
    "annotations": [{"frame_dir": "a", "label": 3, "img_shape": (480, 640), "seen": True, "fps": 29.97, "none": None}],
    "split": {"train": ["a"], "held_out": {"b"}, "few": frozenset({1})},
    "raw": b"\x00\xff",
    "ordered": OrderedDict(x=1),
}


class Calls:
    """What a malicious pickle does: call a function while it is read."""

    def __init__(self, function, *arguments):
        self.made_by = function, arguments

    def __reduce__(self):
        return self.made_by


def read(content):
    return read_pickle(io.BytesIO(content), "a.pkl")


@pytest.mark.parametrize("protocol", range(6))
def test_plain_containers(protocol):
    assert read(pickle.dumps(PLAIN, protocol)) == PLAIN


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["<f2", ">f4", "f8", "i8", "u1", "?", "U3"])
def test_arrays(protocol, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    found = read(pickle.dumps([array, array[..., ::2], np.asfortranarray(array), array[0, 0, 1]], protocol))
    assert found[0].dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    assert [np.array_equal(one, array) for one in (found[0], found[2])] == [True, True]
    assert np.array_equal(found[1], array[..., ::2])
    assert found[3] == array[0, 0, 1]


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_arrays_of_either_numpy(core):
    content = pickle.dumps(np.arange(3.0), 2)
    assert b"numpy._core.multiarray" in content
    content = content.replace(b"numpy._core.multiarray", f"{core}.multiarray".encode())
    assert read(content).tolist() == [0, 1, 2]


@pytest.mark.parametrize("protocol", range(6))
def test_code_is_refused_and_was_not_run(protocol, tmp_path):
    evidence = tmp_path / "evidence"
    for attack in (
        Calls(os.system, f"touch {evidence}"),
        Calls(os.mkdir, str(evidence)),
        Calls(eval, f"open({str(evidence)!r}, 'w')"),
        Calls(np.save, str(evidence), 1),
        Calls(getattr, Path(evidence), "touch"),
        np.array([Calls(os.mkdir, str(evidence))], dtype=object),
        {"annotations": [{"keypoint": Calls(os.mkdir, str(evidence))}]},
    ):
        content = pickle.dumps(attack, protocol)
        with pytest.raises(DataError, match=r"^a\.pkl: no pickle of arrays .*it names .*would run code$"):
            read(content)
        assert not list(tmp_path.iterdir())
    pickle.loads(pickle.dumps(Calls(os.mkdir, str(evidence)), protocol))
    assert evidence.is_dir(), "the attack is none"


def test_a_name_within_an_allowed_one_is_refused():
    for module, name in (("numpy", "ndarray.tofile"), ("numpy.core.multiarray", "fromfile"), ("builtins", "getattr")):
        with pytest.raises(DataError, match="it names"):
            read(b"\x80\x04" + pickle.dumps(module, 4)[2:-1] + pickle.dumps(name, 4)[2:-1] + b"\x93.")


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps(PLAIN)[:-20], b"\x80\x04\x95\xff\xff\xff\xff"])
def test_damaged_pickles(content):
    with pytest.raises(DataError, match=r"^a\.pkl: no pickle of arrays and plain containers \(.+\); it may be cut off"):
        read(content)
