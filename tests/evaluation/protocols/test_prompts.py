import numpy as np
import pytest

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.protocols.prompts import PromptEnsemble, RememberedTexts, embed_texts
from mulan.evaluation.protocols.templates import PromptTemplates
from tests.evaluation.protocols.planted_model import PlantedEncoder, random_text_vector


def test_equal_texts_are_embedded_once_and_rows_are_in_the_order_of_the_texts() -> None:
    encoder = PlantedEncoder(random_text_vector, 16)
    vectors = embed_texts(encoder, ["b", "a", "b"])
    assert encoder.embedded == ["a", "b"]
    np.testing.assert_array_equal(vectors, [random_text_vector(text) for text in ("b", "a", "b")])
    assert embed_texts(encoder, []).shape == (0, 16)


def test_the_vector_of_a_tag_is_the_normalised_mean_of_its_prompts() -> None:
    templates = PromptTemplates(("{}", "{} music"), {"mood": ("it is {}",)})
    tags = ["genre:jazz", "mood:jazz", "style:jazz"]
    ensemble = PromptEnsemble(PlantedEncoder(random_text_vector, 16), tags, templates)
    both, one = ["jazz", "jazz music"], ["it is jazz"]
    assert ensemble.prompts == {"genre:jazz": both, "mood:jazz": one, "style:jazz": both}
    for vector, prompts in zip(ensemble.vectors, (both, one, both), strict=True):
        mean = np.mean([random_text_vector(prompt).astype(np.float64) for prompt in prompts], axis=0)
        assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-12)


def test_opposite_prompts_have_no_direction() -> None:
    encoder = PlantedEncoder(lambda text: np.array([-1.0 if text.startswith("no") else 1.0, 0]), 2)
    np.testing.assert_array_equal(
        PromptEnsemble(encoder, ["mood:x"], PromptTemplates(("{}", "no {}"))).vectors, [[0, 0]]
    )


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
