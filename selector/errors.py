"""Errors that are the user's to mend. Their message is one line: what was wrong, where, and what would be right."""


class UserError(Exception):
    """Base of all errors that a command prints as one line, without a traceback."""


class DataError(UserError):
    """The training data cannot be used as it is."""


class SettingsError(UserError):
    """A combination of settings cannot be trained."""


class CheckpointError(UserError):
    """A stored selector is missing, incomplete or altered."""


class HubError(UserError):
    """The Hugging Face hub cannot be reached, or refuses."""


def first_line(error: Exception) -> str:
    """What an exception says, without the C++ stack that torch writes below it."""
    return printable((str(error).splitlines() or [type(error).__name__])[0])


def printable(text: str) -> str:
    """With halves of surrogate pairs, which JSON may hold and no stream takes, as escapes."""
    return text.encode(errors="backslashreplace").decode()
