"""The one kind of error that is shown to a person as a single line."""


class UserError(Exception):
    """Bad input that the user can cure.

    The message is one line that names the file or option and the cure. The command line prints it
    without a traceback and exits with code 2.
    """


class InputWarning(UserWarning):
    """Something in the input that was handled, and that a person should know of."""
