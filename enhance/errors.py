"""Errors; EnhanceError is the one that the command line shows to a person."""

from __future__ import annotations


class EnhanceError(Exception):
    """Something a user can put right.

    Printed as one line, ``what: hint``. ``what`` names the file or option and says what is wrong,
    ``hint`` says what to do about it.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        self.what = what
        self.hint = hint
        super().__init__(what, hint)  # both in args, so that it survives pickling between processes

    def __str__(self) -> str:
        return f"{self.what}: {self.hint}" if self.hint else self.what


class NotEncoded(OSError):
    """A format cannot hold what is to be written into it."""
