"""The model of an index embeds queries as mulan.MuLan does, and no other model is accepted."""

from pathlib import Path

import numpy as np
import pytest

import mulan
from mulan.evaluation.encoders.registry import open_encoder
from mulan.search.errors import OtherModel
from mulan.search.manifest import IndexManifest
from mulan.search.model import QueryModel
from tests.search.planted import MODEL
from tests.sounds import flac, tone


def manifest_of(sha256: str) -> IndexManifest:
    return IndexManifest(model=MODEL.replace(sha256=sha256), windows=False, approximate_above=0)


def test_queries_have_the_vectors_of_the_model(model_uri: str, tmp_path: Path) -> None:
    sha256 = open_encoder(model_uri, device="cpu").info.sha256
    model, expected = QueryModel.open(model_uri, manifest_of(sha256), "/index"), mulan.MuLan.from_pretrained(model_uri)
    texts = ["slow sad piano", "drums", "静かなピアノ"]
    np.testing.assert_allclose(model.of_texts(texts), expected.embed_text(texts), atol=1e-6)
    content = flac(tone(440.0, 1.7))
    (tmp_path / "sound.flac").write_bytes(content)
    path = str(tmp_path / "sound.flac")
    np.testing.assert_allclose(model.of_sound(path), expected.embed_audio([path])[0], atol=1e-6)
    np.testing.assert_array_equal(model.of_sound(content), model.of_sound(path))


def test_another_model_is_refused(model_uri: str) -> None:
    with pytest.raises(OtherModel, match="the index /index has vectors of /models/planted"):
        QueryModel.open(model_uri, manifest_of("cd" * 32), "/index")
