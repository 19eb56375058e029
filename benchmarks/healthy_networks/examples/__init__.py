"""What Keras's own examples teach to build, rebuilt in small: a file for each subject."""

from healthy_networks import cases_of

FILES = ("vision", "text", "series", "generative", "others")


def cases():
    return cases_of(__name__, FILES)
