import numpy as np
import pytest

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.protocols.prompts import PromptEnsemble, RememberedTexts, embed_texts
from tests.evaluation.protocols.planted_model import PlantedEncoder, random_text_vector


def test_equal_texts_are_embedded_once_and_rows_are_in_the_order_of_the_texts() -> None:
    encoder = PlantedEncoder(random_text_vector, 16)
    vectors = embed_texts(encoder, ["b", "a", "b"])
    assert encoder.embedded == ["a", "b"]
    np.testing.assert_array_equal(vectors, [random_text_vector(text) for text in ("b", "a", "b")])
    assert embed_texts(encoder, []).shape == (0, 16)


def test_a_word_that_two_tags_have_has_its_vector_twice() -> None:
    ensemble = PromptEnsemble(PlantedEncoder(random_text_vector, 16), ["jazz", "pop", "jazz"], ["{}", "{} music"])
    assert ensemble.prompts == {"jazz": ["jazz", "jazz music"], "pop": ["pop", "pop music"]}
    np.testing.assert_array_equal(ensemble.vectors[0], ensemble.vectors[2])
    assert np.linalg.norm(ensemble.vectors, axis=1) == pytest.approx(1)


def test_opposite_prompts_have_no_direction() -> None:
    encoder = PlantedEncoder(lambda text: np.array([-1.0 if text.startswith("no") else 1.0, 0]), 2)
    np.testing.assert_array_equal(PromptEnsemble(encoder, ["x"], ["{}", "no {}"]).vectors, [[0, 0]])


def test_templates_without_a_place_for_the_tag_are_named() -> None:
    encoder = PlantedEncoder(random_text_vector, 16)
    with pytest.raises(EvaluationError, match=r"'music', '{x}'$"):
        PromptEnsemble(encoder, ["jazz"], ["{}", "music", "{x}"])
    with pytest.raises(EvaluationError, match="there are none"):
        PromptEnsemble(encoder, ["jazz"], [])


def test_vectors_that_are_not_finite_are_named() -> None:
    with pytest.raises(EvaluationError, match="text embeddings of the model planted are not finite"):
        embed_texts(PlantedEncoder(lambda text: np.array([np.nan]), 1), ["a"])


def test_texts_that_were_asked_for_before_are_not_embedded_again() -> None:
    encoder = PlantedEncoder(random_text_vector, 16)
    remembered = RememberedTexts(encoder)
    texts = ["b", "a", "b"]
    np.testing.assert_array_equal(remembered.embed_text(texts), encoder.embed_text(texts))
    encoder.embedded.clear()
    np.testing.assert_array_equal(
        remembered.embed_text(["a", "c"]), np.stack([random_text_vector("a"), random_text_vector("c")])
    )
    assert encoder.embedded == ["c"]
    assert remembered.info is encoder.info
