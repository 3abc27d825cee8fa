"""Training data from the definitions that the stream computes, point-in-time correct (docs/training.md).

Laws:
- A row is what the stream would have computed for the member at the row's time, bit for bit; what is missing and
  left to an imputer is NaN.
- Nothing after a row's as-of time has any influence on it, whatever order the events came in.
- Nothing is silent: an event that can't be applied is skipped as a worker would, and told of; a member that the stream
  didn't know at the time is marked, its row NaN.
"""

from models.training.columns import TrainingError
from models.training.history import Record, from_history
from models.training.matrix import TrainingMatrix, training_matrix

__all__ = ["Record", "TrainingError", "TrainingMatrix", "from_history", "training_matrix"]
