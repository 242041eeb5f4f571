"""The error that is reported as a message instead of a traceback."""


class DarkroomError(Exception):
    """An error that the user can correct: the message says what is wrong, where, and what to do."""
