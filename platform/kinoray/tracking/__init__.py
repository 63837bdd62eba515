"""Runs, metrics and models in MLflow; the only room that imports mlflow."""

import os

# Read by MLflow when it is imported: it would report its use to its makers unless told otherwise.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
