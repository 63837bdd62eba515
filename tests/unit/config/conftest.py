"""Makes ``helpers`` importable: a small tree of configurations, which also plays the user's own package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "helpers"))
