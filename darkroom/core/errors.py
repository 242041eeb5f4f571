"""The one kind of failure that a user is told about in a sentence instead of a traceback."""


class DarkroomError(Exception):
    """Something the user can put right: the message says what is wrong, where, and what to do."""
