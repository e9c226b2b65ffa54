"""Errors of indices and searches, whose causes a user can remove."""

from mulan.config.errors import MulanError


class UnusableIndex(MulanError, ValueError):
    """An index is missing, unfinished or damaged, or cannot be changed in the way that is asked for."""


class OtherModel(UnusableIndex):
    """An index has vectors of another model than the one that embeds the queries."""


class UnusableQuery(MulanError, ValueError):
    """A query cannot be answered: it asks for nothing, or has an invalid value."""


class UnknownRecording(MulanError, KeyError):
    """A recording is not in the index."""

    def __init__(self, recording_id: str) -> None:
        self.recording_id = recording_id
        super().__init__(f"there is no recording {recording_id!r:.200} in the index")

    def __str__(self) -> str:  # a KeyError would print the message in quotes
        return str(self.args[0])
