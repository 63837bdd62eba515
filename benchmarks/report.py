"""What all benchmarks say of themselves: the machine, a table for people, JSON for comparing."""

import json
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("kinoray", "numpy", "av", "torch", "ray", "pyarrow", "decord", "torchcodec", "opencv-python-headless")
PROC_CPU_KEYS = ("model name", "Hardware")


def machine() -> dict[str, Any]:
    """What figures depend on: processor, CPUs this process may use, system, versions of what is installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cpus": allowed,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": found,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def write_json(name: str, rows: Sequence[dict[str, Any]], path: str | Path | None = None) -> Path:
    """Write rows with the machine they were measured on; by default to ``build/bench/<name>.json``."""
    target = Path(path) if path is not None else ROOT / "build" / "bench" / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"benchmark": name, "machine": machine(), "rows": list(rows)}, indent=2) + "\n")
    print(f"written to {target}")
    return target


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Rows as aligned columns in the order in which names first appear; numbers to three digits, a gap for none."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    widths = [max(len(line[column]) for line in [names, *cells]) for column in range(len(names))]
    is_number = [
        all(isinstance(row.get(name, 0), int | float | None) and not isinstance(row.get(name), bool) for row in rows)
        for name in names
    ]
    for line in [names, *cells]:
        padded = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, is_number, strict=True)
        ]
        print("  ".join(padded).rstrip())


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _processor() -> str:
    """The processor's name; ``platform.processor()`` is empty on most Linux systems."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in PROC_CPU_KEYS:
                return value.strip()
    return platform.processor() or platform.machine()
