"""Which support vector machine tells malign from benign tumours best?

Covers: numpy arrays both ways; dataclasses; a handler that also asks for the job.

Scenario: scikit-learn's breast-cancer data, 569 tumours with 30 measurements each.  A
machine has two settings, C and gamma.  Each of 48 pairs is judged by cross-validation
in five folds; a job fits eight pairs on one fold, so there are 30 jobs.  The scores go
into a table by fold and setting, so the order in which they arrive does not matter.

Needs the extra ``pyboinc[examples]``.
"""

import numpy as np
from app_types import Input
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import StratifiedKFold

from pyboinc import pyboinc_call, pyboinc_master

C = 10.0 ** np.arange(-1, 5)
GAMMA = 10.0 ** np.arange(-6, 2)
GRID = np.array([(c, gamma) for c in C for gamma in GAMMA])
FOLDS = 5
SETTINGS_IN_A_JOB = 8

accuracy = np.full((FOLDS, len(GRID)), np.nan)


def make_calls():
    data = load_breast_cancer()
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(data.data, data.target)
    for fold, (train, test) in enumerate(folds):
        for settings in np.split(np.arange(len(GRID)), len(GRID) // SETTINGS_IN_A_JOB):
            pyboinc_call("app_slave.py", Input(fold, settings, GRID[settings], train, test))


def handle_result(output, job):
    accuracy[job.input.fold, job.input.settings] = output.accuracy


pyboinc_master(make_calls, handle_result)

mean, deviation = accuracy.mean(axis=0), accuracy.std(axis=0)
print("     C     gamma  accuracy")
for setting in np.argsort(-mean, kind="stable")[:5]:
    c, gamma = GRID[setting]
    print(f"{c:6g}  {gamma:8g}  {mean[setting]:.4f} +- {deviation[setting]:.4f}")
print(f"{accuracy.size} machines were fitted, {len(GRID)} settings in {FOLDS} folds each.")
