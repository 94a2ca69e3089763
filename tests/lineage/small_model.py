"""A model that needs NumPy alone, for what does not depend on the kind of model.

A process that runs it again does not load scikit-learn, which takes it longer than all the rest.
"""

from typing import Any

import numpy as np


class Linear:
    """Ridge regression on the answers as -1 and 1; no steps and no chance, the same bits always."""

    def __init__(self, C: float = 1.0) -> None:
        self.C = C

    def fit(self, rows: Any, answers: Any) -> "Linear":
        """Learn whether it is so from rows of numbers."""
        wanted = np.asarray(answers, dtype=float) * 2 - 1
        if np.all(wanted == wanted[0]):
            raise ValueError("there must be answers of both kinds")
        known = _with_ones(rows)
        self.weights = np.linalg.solve(
            known.T @ known + np.eye(known.shape[1]) / self.C, known.T @ wanted
        )
        return self

    def predict_proba(self, rows: Any) -> np.ndarray:
        """How likely it is not, and that it is, for each row."""
        likely = 1 / (1 + np.exp(-(_with_ones(rows) @ self.weights)))
        return np.column_stack([1 - likely, likely])

    def score(self, rows: Any, answers: Any) -> float:
        """The share of rows that it is right about."""
        found = self.predict_proba(rows)[:, 1] >= 0.5
        return float((found == np.asarray(answers, dtype=bool)).mean())


def _with_ones(rows: Any) -> np.ndarray:
    known = np.asarray(rows, dtype=float)
    return np.column_stack([np.ones(len(known)), known])


def small() -> Linear:
    """One that has learnt, the same each time."""
    rows = np.array([[5000.0, 1.0], [15000.0, 0.0], [20000.0, 0.0], [8000.0, 1.0], [250000.0, 0.0]])
    return Linear(C=0.5).fit(rows / 1000, [1, 0, 0, 1, 0])
