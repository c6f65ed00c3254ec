"""Errors that a person at the command line can mend."""


class InputError(ValueError):
    """What was given does not fit: a folder that is no run, weights of another network. The message is one line."""
