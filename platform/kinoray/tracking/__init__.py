"""Runs, metrics and models in MLflow; the only room that imports mlflow."""
