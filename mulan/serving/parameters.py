"""The parameters of a search, as clients write them in the address of a request."""

import json
import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from mulan.search.query import Filter
from mulan.serving.service import SearchRequest
from mulan.serving.settings import MAX_CHARACTERS

MAX_TEXTS = 8
"""Maximum number of texts, and of recordings, in a request."""
MAX_NAME = 2000
"""Maximum length of an id or a tag."""
MAX_TAGS = 20
"""Maximum number of tags in a request."""
MAX_HITS = 100
"""Maximum number of recordings in an answer."""
DEFAULT_HITS = 10
"""Number of recordings in an answer if none is asked for."""
MAX_DURATION_S = 1e9
"""Maximum duration in a request, which excludes no recording."""

Text = Annotated[str, StringConstraints(max_length=MAX_CHARACTERS)]
Name = Annotated[str, StringConstraints(max_length=MAX_NAME)]


UNSHOWN = ("k", "windows", "min_duration_s", "max_duration_s")
"""Parameters that the form of the page does not show, and keeps from one search to the next."""


class SearchParameters(BaseModel):
    """What is searched for. Blank texts are ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    q: list[Text] = Field([], max_length=MAX_TEXTS, description="Texts that describe the music.")
    unwanted: list[Text] = Field(
        [], alias="not", max_length=MAX_TEXTS, description="Texts that describe what the music is not like."
    )
    like: list[Name] = Field(
        [],
        max_length=MAX_TEXTS,
        description="Ids of recordings that it sounds like; the first one is not among the hits.",
    )
    tag: list[Name] = Field(
        [], max_length=MAX_TAGS, description="Tags as `category:text`, all of which the recordings have."
    )
    min_duration_s: float = Field(0.0, ge=0, le=MAX_DURATION_S, description="Minimum duration in seconds.")
    max_duration_s: float = Field(MAX_DURATION_S, ge=0, le=MAX_DURATION_S, description="Maximum duration in seconds.")
    k: int = Field(DEFAULT_HITS, ge=1, le=MAX_HITS, description="Number of recordings to return.")
    windows: bool = Field(
        False,
        description="Whether recordings are ranked by the window that matches best, among the 1,000 that match best as "
        "a whole.",
    )

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts that are not blank."""
        return _not_blank(self.q)

    @property
    def unwanted_texts(self) -> tuple[str, ...]:
        """The texts of what is not wanted that are not blank."""
        return _not_blank(self.unwanted)

    @property
    def asks(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.texts or self.unwanted_texts or any(self.like) or any(self.tag))

    @property
    def unshown(self) -> dict[str, str]:
        """The parameters of :data:`UNSHOWN` that are not the defaults, as an address states them."""
        given = self.model_dump(include={*UNSHOWN}, exclude_defaults=True)
        return {name: json.dumps(value) for name, value in given.items()}

    def request(self) -> SearchRequest:
        """Returns the request to the service.

        Raises:
            UnusableQuery: The minimum duration is larger than the maximum.
        """
        longest_s = self.max_duration_s if self.max_duration_s < MAX_DURATION_S else math.inf
        return SearchRequest(
            self.texts,
            self.unwanted_texts,
            _not_blank(self.like),
            hits=self.k,
            filter=Filter(_not_blank(self.tag), self.min_duration_s, longest_s),
            by_window=self.windows,
        )


def _not_blank(texts: list[str]) -> tuple[str, ...]:
    return tuple(text for text in texts if text.strip())
