"""The one exception that is written for the user rather than for the developer."""


class GenrevError(Exception):
    """Bad input, told in one sentence that names the cause and the cure.

    The command line prints it without a traceback and exits with status 2.
    """
