"""Errors that are told in one line."""


class InputError(ValueError):
    """What was given does not fit: a folder that is no run, weights of another network. A person can mend it."""


class GateError(RuntimeError):
    """What was made is not good enough, and was not written: an export that differs, a variant that loses too much."""
