import subprocess
import sys
from pathlib import Path

import pytest
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

from kinoray.cluster.upload import UploadReport, upload_size
from kinoray.errors import ConfigError

REPO = Path(__file__).resolve().parents[3]


def write(path: Path, num_bytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * num_bytes)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    (root / "runs").mkdir(parents=True)
    (root / "empty" / "nested").mkdir(parents=True)
    (root / ".gitignore").write_text("/runs/\n*.mp4\n")
    (root / ".rayignore").write_text("docs/\n")
    (root / "sub").mkdir()
    (root / "sub" / ".rayignore").write_text("secret.txt\n")
    write(root / "jobs" / "train.py", 1000)
    write(root / "jobs" / "größe.py", 10)
    write(root / "runs" / "model.pt", 5000)
    write(root / "clip.mp4", 4000)
    write(root / "docs" / "page.md", 3000)
    write(root / "sub" / "secret.txt", 2000)
    write(root / ".venv" / "lib.so", 9000)
    write(root / "pkg" / "__pycache__" / "a.pyc", 100)
    (root / "pkg" / "broken").symlink_to(root / "nowhere")
    return root


def packed_bytes(root: Path, target: Path, with_gitignore: bool = True) -> int:
    create_package(str(root), target, include_gitignore=with_gitignore, excludes=get_runtime_env_default_excludes())
    return target.stat().st_size


def test_counts_what_ray_packs_to_the_byte(tree: Path, tmp_path: Path) -> None:
    report = upload_size(tree)
    assert report.archive_bytes == packed_bytes(tree, tmp_path / "package.zip")
    assert {str(path) for path, _ in report.files} == {
        ".gitignore", ".rayignore", "sub/.rayignore", "jobs/train.py", "jobs/größe.py",
    }  # fmt: skip
    assert str(report.files[0][0]) == "jobs/train.py"


def test_follows_rays_switches(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    monkeypatch.setenv("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", "")
    report = upload_size(tree)
    assert report.archive_bytes == packed_bytes(tree, tmp_path / "package.zip", with_gitignore=False)
    assert {"runs/model.pt", "clip.mp4", ".venv/lib.so"} <= {str(path) for path, _ in report.files}


def test_symbolic_links_are_followed(tree: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "big.bin", 7000)
    (tree / "linked").symlink_to(tmp_path / "elsewhere")
    report = upload_size(tree)
    assert (str(report.files[0][0]), report.files[0][1]) == ("linked/big.bin", 7000)
    assert report.archive_bytes == packed_bytes(tree, tmp_path / "package.zip")


def test_the_limit_itself_fits(tree: Path) -> None:
    report = upload_size(tree)
    exact = UploadReport(report.root, report.files, report.archive_bytes, limit_bytes=report.archive_bytes)
    assert exact.fits
    assert not UploadReport(report.root, report.files, report.archive_bytes, report.archive_bytes - 1).fits


def test_not_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"root is not a directory, got .*nowhere"):
        upload_size(tmp_path / "nowhere")


def run_job(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, REPO / "jobs" / "check_upload.py", root], capture_output=True, text=True, check=False
    )


def test_the_job_names_the_ten_biggest(tmp_path: Path) -> None:
    for index in range(12):
        path = tmp_path / f"part{index:02d}.bin"
        with path.open("wb") as file:
            file.truncate((index + 4) * 2**20)  # sparse: 114 MiB in all, no disk
    done = run_job(tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "114.0 MiB in 12 files; Ray's limit is 100 MiB" in done.stderr
    named = [line.split()[-1] for line in done.stderr.splitlines()[1:]]
    assert named == [f"part{index:02d}.bin" for index in range(11, 1, -1)]


def test_the_job_passes_this_checkout() -> None:
    done = run_job(REPO)
    assert done.returncode == 0, done.stderr
    assert "it fits in Ray's limit of 100 MiB" in done.stdout


def test_the_job_refuses_a_missing_directory(tmp_path: Path) -> None:
    done = run_job(tmp_path / "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("upload: root is not a directory")
