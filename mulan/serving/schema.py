"""What the API answers, as its OpenAPI description states it, and what the page shows."""

from typing import Annotated

from pydantic import BaseModel, Field

from mulan.search.overview import MapPoint, TagCount


class ListedRecording(BaseModel):
    """A recording of the collection."""

    recording_id: str = Field(description="Id, unique in the collection.")
    title: str = Field(description="Title, or else the id.")
    artist: str = Field(description="Artist; empty if unknown.")
    duration_s: float = Field(description="Duration in seconds.")
    tags: list[str] = Field(description="Tags as `category:text`.")
    waveform: list[Annotated[int, Field(ge=0, le=255)]] = Field(
        description="Largest magnitudes of the samples in parts of equal duration, from the start to the end, where "
        "255 is full scale."
    )
    audio: str = Field(description="Path from which the audio file is streamed; it accepts ranges of bytes.")
    offset_s: float = Field(
        description="Where the recording begins in the audio file, in seconds; 0 unless it is a part of the file."
    )


class Hit(ListedRecording):
    """A recording that a search has found."""

    score: float = Field(
        description="Mean similarity to what is wanted, minus the mean similarity to what is not wanted; similarities "
        "are in [-1, 1]."
    )
    start_s: float = Field(
        description="Where in the audio file the window begins that matches best, in seconds; without windows, where "
        "the recording begins."
    )


class Hits(BaseModel):
    """The result of a search."""

    hits: list[Hit] = Field(description="The recordings found, the best one first.")


class CollectionMap(BaseModel):
    """A map of the collection, on which similar recordings are close to each other."""

    category: str = Field(description="Category of the tags that the groups are; empty if there are no groups.")
    points: list[MapPoint] = Field(description="The recordings on the map, which are at most a few thousand.")


class Collection(BaseModel):
    """The collection that is searched."""

    recordings: int = Field(description="Number of recordings.")
    windows: int = Field(description="Number of windows of which the index has vectors; 0 without moments.")
    model: str = Field(description="Path or URI of the model.")
    model_sha256: str = Field(description="SHA-256 of the model in hexadecimal.")
    tags: list[TagCount] = Field(description="The most frequent tags, at most 200, the most frequent one first.")
    examples: list[str] = Field(description="Texts to search for.")


class Fault(BaseModel):
    """Why a request was refused."""

    detail: str = Field(description="The reason and the remedy.")
