"""The one exception that a user is meant to see."""


class VidnasError(Exception):
    """Bad input: one line that says what is wrong, where, and how to mend it.

    The command line prints it without a traceback and exits with `exit_code`.
    """

    exit_code = 1
