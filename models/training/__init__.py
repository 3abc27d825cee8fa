"""Training data from the definitions that the stream computes, point-in-time correct (docs/training.md).

Laws:
- A row is what the stream would have computed for the member at the row's time, bit for bit. A missing value that is
  left to an imputer is NaN.
- Nothing after a row's as-of time has any influence on it, in whatever order the events came.
- Nothing is silent. An event that can't be applied is skipped, as by a worker, and listed. A member that the stream
  didn't know at the time is marked, and its row is NaN.
"""

from memberstream.models.training.columns import TrainingError
from memberstream.models.training.history import Record, from_history
from memberstream.models.training.matrix import TrainingMatrix, training_matrix

__all__ = ["Record", "TrainingError", "TrainingMatrix", "from_history", "training_matrix"]
