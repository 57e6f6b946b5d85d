"""The job as the executors take it: a function that they can import."""


def no_op(number):
    return number
