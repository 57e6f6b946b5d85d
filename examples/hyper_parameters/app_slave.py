"""One job: fit and score each of the given settings on one fold."""

import numpy as np
from app_types import Output
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from pyboinc import pyboinc_fraction_done, pyboinc_get_input, pyboinc_return_output

work = pyboinc_get_input()
data = load_breast_cancer()
x_train, y_train = data.data[work.train], data.target[work.train]
x_test, y_test = data.data[work.test], data.target[work.test]

accuracy = np.zeros(len(work.grid))
for i, (c, gamma) in enumerate(work.grid):
    machine = make_pipeline(StandardScaler(), SVC(C=c, gamma=gamma))
    accuracy[i] = machine.fit(x_train, y_train).score(x_test, y_test)
    pyboinc_fraction_done((i + 1) / len(work.grid))

pyboinc_return_output(Output(accuracy))
