"""The same recordings as a corpus, as a folder of files and as a table of their paths, and a model that embeds them."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from mulan.data.corpus.writing import Recording, write_corpus
from mulan.tasks.joint import JointTask
from tests.conftest import tone_recording
from tests.evaluation.small_model import RECIPE

COUNT = 21


@dataclass(frozen=True)
class Places:
    """Where the recordings are."""

    corpus: str
    folder: Path
    table: Path
    recordings: list[Recording]


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Returns recordings of 2 to 4 s, one of which is truncated."""
    root = tmp_path_factory.mktemp("collection")
    recordings = [tone_recording(number, "train") for number in range(COUNT)]
    recordings.append(tone_recording(COUNT, "test"))
    damaged = recordings[5]
    recordings[5] = Recording(**{**damaged.__dict__, "audio": damaged.audio[:20_000]})
    write_corpus(recordings, str(root / "corpus"), recordings_per_shard=8)
    (root / "music" / "a b").mkdir(parents=True)
    for number, each in enumerate(recordings):
        folder = root / "music" / ("a b" if number % 2 else "")
        (folder / f"{each.recording_id}.FLAC").write_bytes(each.audio)
    lines = ["id,path,artist,tags"]
    for number, each in enumerate(recordings):
        path = f"{'a b/' * (number % 2)}{each.recording_id}.FLAC"
        lines.append(f"{each.recording_id},{path},somebody,genre:drone")
    (root / "music" / "tracks.csv").write_text("\n".join(lines))
    return Places(str(root / "corpus"), root / "music", root / "music" / "tracks.csv", recordings)


@pytest.fixture(scope="session")
def model_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    JointTask(RECIPE).export(JointTask(RECIPE).build_model(), folder)
    return str(folder)
