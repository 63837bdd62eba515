"""What docs/sweeps.md shows can be run."""

import re
from pathlib import Path

from kinoray.sweep.file import Sweep

ROOT = Path(__file__).resolve().parents[2]


def test_the_sweep_file_of_the_page(tmp_path: Path) -> None:
    page = (ROOT / "docs/sweeps.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    recipe = ROOT / "configs/tiny3d/tiny3d_motion8.yaml"
    (tmp_path / "sweep.yaml").write_text(text.replace("../tiny3d/tiny3d_motion8.yaml", str(recipe)))
    sweep = Sweep.load(tmp_path / "sweep.yaml")
    assert sweep.num_trials == 24
    assert sweep.check(sweep.with_budget(sweep.load_recipe(), 768))


def test_the_pictures_of_the_page_are_there() -> None:
    named = re.findall(r"\]\((pictures/[^)]+)\)", (ROOT / "docs/sweeps.md").read_text())
    assert named
    for name in named:
        assert (ROOT / "docs" / name).stat().st_size < 300_000, name
