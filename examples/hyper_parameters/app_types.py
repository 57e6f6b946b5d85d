"""What travels: arrays of settings and of row numbers to a slave, an array of scores back."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Input:
    """Settings to try on one fold of the data."""

    fold: int
    settings: np.ndarray  # shape (n,): which rows of the grid these are
    grid: np.ndarray  # shape (n, 2): C and gamma, one row for each setting
    train: np.ndarray  # the rows of the data to learn from
    test: np.ndarray  # the rows to be judged by


@dataclass
class Output:
    accuracy: np.ndarray  # shape (n,): between 0 and 1, one for each setting
