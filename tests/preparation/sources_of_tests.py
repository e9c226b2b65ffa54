"""A source of tones for tests of the preparation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mulan.preparation.exclusion import Exclusions
from mulan.preparation.faults import Faults
from mulan.preparation.found import AudioLocation, FoundRecording
from mulan.preparation.plan import Preparation
from mulan.preparation.scan import NamedSource
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.workspace import Workspace
from tests.sounds import flac, tone


@dataclass(frozen=True)
class GivenSource:
    """A source whose recordings and missing recordings are given."""

    found: Sequence[FoundRecording]
    missing: Sequence[str] = ()

    def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
        for name in self.missing:
            faults.missing(name, f"{name}.flac")
        yield from self.found


def tones(folder: Path, count: int, *, seconds: float = 2.0) -> list[FoundRecording]:
    """Writes tones of different pitch to a folder, and returns them as recordings with texts and tags."""
    folder.mkdir(exist_ok=True)
    found = []
    for number in range(count):
        path = folder / f"tone-{number:03d}.flac"
        path.write_bytes(flac(tone(100 + 10 * number, seconds, seed=number)))
        found.append(
            FoundRecording(
                recording_id=path.stem,
                audio=AudioLocation(uri=str(path), version=f"{path.stat().st_size}-{path.stat().st_mtime_ns}"),
                split="train" if number % 4 else "test",
                texts={
                    "short_form": [f"Tone at {100 + 10 * number} Hz"],
                    "long_form": [f"A steady tone, take {number}."],
                },
                tags=["genre:tone"],
                title=f"Take {number}",
                artist=f"Oscillator {number}",
            )
        )
    return found


def without_texts(found: Sequence[FoundRecording]) -> list[FoundRecording]:
    return [replace(recording, texts={}) for recording in found]


def preparation(
    out: Path | str,
    *sources: GivenSource,
    config: PreparationConfig | None = None,
    exclude: Sequence[str] = (),
    adopted: Sequence[NamedSource] = (),
) -> Preparation:
    """Returns a preparation of given sources, ``tones=0``, ``tones=1`` and so on."""
    named = [
        NamedSource(f"tones={number}", f"{number}/" if len(sources) > 1 else "", source)
        for number, source in enumerate(sources)
    ]
    config = config or PreparationConfig()
    return Preparation(named, adopted, config, Exclusions.read(exclude), Workspace(str(out)))
