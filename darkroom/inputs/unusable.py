"""The error of every function that reads an image file."""


class Unusable(ValueError):
    """The file is not a usable image; the message says why in a few words."""


class TooLarge(Unusable):
    """The file exceeds a limit."""
