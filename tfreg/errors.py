"""`UserError`, `WorkError` and `InputWarning`: what is shown to a person as a single line."""


class UserError(Exception):
    """Bad input that the user can cure.

    The message is one line that names the file or option and the cure. The command line prints it
    without a traceback and exits with `exit_code`. A file's name may hold line breaks, and is shown with them as \\n.

    Example:
        >>> try:
        ...     tfreg.read_volume("missing.nii.gz")
        ... except tfreg.UserError as error:
        ...     print(error)
        missing.nii.gz: no such file; check the path
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() or 0xDC80 <= ord(c) <= 0xDCFF else _escaped(c) for c in message))


class WorkError(UserError):
    """Work on good input that failed, as a whole or in part; what was achieved is kept, and the message says where."""

    exit_code = 1


class InputWarning(UserWarning):
    """Something in the input that was handled, and that a person should know of."""


def _escaped(character):
    """A character that does not print, such as a line break, as Python writes it."""
    return character.encode("unicode_escape").decode("ascii")
