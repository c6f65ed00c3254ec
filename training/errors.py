"""Errors that the command line reports in one line, without a traceback."""


class InputError(ValueError):
    """An input does not fit, and the user can correct it: a folder that is no run, or weights of another network."""


class GateError(RuntimeError):
    """A result is not good enough and was not written: an export that differs, or a variant that loses too much."""
