"""Rows of results for tests."""

from typing import Any

from mulan.preparation.clips import Clip
from mulan.preparation.found import AudioLocation, FoundRecording
from mulan.preparation.shards import DecodedRecording


def result_row(recording_id: str, *, reason: str = "", **values: Any) -> dict[str, Any]:
    """Returns a row of :data:`mulan.preparation.shards.RESULT_SCHEMA`."""
    return {
        "recording_id": recording_id,
        "uri": "shards/aa.tar",
        "offset": 0,
        "length": 0 if reason else 1024,
        "duration_s": 0.0 if reason else 30.0,
        "split": "train",
        "sources": ["short_form"],
        "tags": ["genre:jazz"],
        "fields": "",
        "further_ranges": [],
        "reason": reason,
        "detail": f"details of {recording_id}" if reason else "",
        "fault": "",
        "artist": "",
        "sha256": "" if reason else f"hash of {recording_id}",
        "recording_s": 0.0 if reason else 200.0,
        "silent_share": 0.0,
        "clipped_share": 0.0,
        "music_share": None,
        "removed_texts": [],
        **values,
    }


def decoded_recording(audio: bytes) -> DecodedRecording:
    """Returns a recording with a clip of encoded audio, of which nothing else is known."""
    clip = Clip(audio, duration_s=1.0, recording_s=1.0, sha256="", silent_share=0.0, clipped_share=0.0, fault="")
    return DecodedRecording(found=FoundRecording(recording_id="a", audio=AudioLocation(uri="/a.flac")), clip=clip)
