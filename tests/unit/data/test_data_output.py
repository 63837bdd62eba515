"""A folder in which what is there is whole."""

import pytest
from pyarrow.fs import FileSystem

from kinoray.data.output import OutputFolder
from kinoray.errors import DataError, ResourceError


@pytest.fixture
def output(tmp_path):
    return OutputFolder(str(tmp_path / "out"))


def test_a_file_appears_when_it_is_whole(output):
    def write_half() -> None:
        with output.writing("a/b.bin") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert output.read("a/b.bin") is None
    assert output.sizes("a") == {}
    output.write("a/b.bin", b"whole")
    assert output.sizes("a") == {"a/b.bin": 5}
    output.clear_work()
    assert output.sizes("") == {"a/b.bin": 5}


def test_a_store_keeps_no_half_of_a_file(monkeypatch):
    """An object is there as soon as it is closed, however much of it was written."""
    store, _ = FileSystem.from_uri("mock:///base")
    store.create_dir("base")
    monkeypatch.setattr("kinoray.data.output.file_system", lambda uri: (store, "base"))
    output = OutputFolder("mock:///base")
    output.write("whole", b"whole")

    def write_half():
        with output.writing("half") as file:
            file.write(b"ha")
            raise DataError("no more")

    with pytest.raises(DataError, match="no more"):
        write_half()
    assert output.sizes("") == {"whole": 5}


def test_a_place_that_cannot_be_used_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "x").mkdir(parents=True)
    with pytest.raises(ResourceError, match=r"folder/x: cannot be read"):
        OutputFolder(str(tmp_path / "folder")).read("x")
    with pytest.raises(ResourceError, match=r"file/: cannot be listed"):
        OutputFolder(str(tmp_path / "file")).names()
    with pytest.raises(ResourceError, match="cannot be written"):
        OutputFolder(str(tmp_path / "file" / "out")).write("x", b"")
