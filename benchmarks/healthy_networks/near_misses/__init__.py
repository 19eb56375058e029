"""What looks like a fault and is on purpose: a file for each subject."""

from healthy_networks import cases_of

FILES = ("starts", "heads", "numbers", "outputs", "optimizers", "inputs")


def cases():
    return cases_of(__name__, FILES)
