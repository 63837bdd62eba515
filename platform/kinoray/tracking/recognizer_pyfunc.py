"""The program of a recognizer in MLflow's model store: paths of videos in, a table of labels out.

MLflow copies this file into the model and runs it where the model is loaded; Kinoray travels with it as code.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

import kinoray
from kinoray.errors import DataError, KinorayError


class RecognizerModel(PythonModel):
    """Scores videos one by one; one that cannot be read gets a row with its error."""

    def load_context(self, context: PythonModelContext) -> None:
        device = (context.model_config or {}).get("device", "cpu")
        self.recognizer = kinoray.load_recognizer(context.artifacts["checkpoint"], device=device)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Recognize every path.

        Args:
            context: unused, MLflow's.
            model_input: column ``path``.
            params: ``top_k``, how many labels a row lists.

        Returns:
            Columns path, label, score, top_labels, top_scores, scores (all K) and error (empty where it went well).
        """
        del context
        top_k = int((params or {}).get("top_k", 5))
        return pd.DataFrame([self._recognize(path, top_k) for path in model_input["path"]])

    def _recognize(self, path: object, top_k: int) -> dict[str, Any]:
        named = path if isinstance(path, str) else ""  # a table's missing value is a float
        try:
            if not named:
                raise DataError("path, got a row without one; give the path or URI of a video")
            found = self.recognizer.recognize(named)
        except (KinorayError, OSError, MemoryError) as error:
            blank: dict[str, Any] = {"label": "", "score": float("nan"), "top_labels": [], "top_scores": []}
            return {"path": named, **blank, "scores": [], "error": f"{type(error).__name__}: {error}"}
        top = found.top(top_k)
        return {
            "path": named,
            "label": top[0][0],
            "score": top[0][1],
            "top_labels": [label for label, _ in top],
            "top_scores": [score for _, score in top],
            "scores": found.scores.tolist(),
            "error": "",
        }


set_model(RecognizerModel())
