"""Errors that are shown to a person as a single line."""


class UserError(Exception):
    """Bad input that the user can cure.

    The message is one line that names the file or option and the cure. The command line prints it
    without a traceback and exits with `exit_code`.
    """

    exit_code = 2


class WorkError(UserError):
    """Work on good input that failed, as a whole or in part; what was achieved is kept, and the message says where."""

    exit_code = 1


class InputWarning(UserWarning):
    """Something in the input that was handled, and that a person should know of."""
