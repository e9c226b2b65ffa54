"""Tests the checks before a job starts: models that the workers could not build are refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mulan.config.recipe import Recipe
from mulan.instrumentation.settings import InstrumentSettings, ProfileRefused, StepRange
from mulan.launch.checks import check_corpus, check_instruments, check_is_no_sweep, licence_lines
from mulan.recipes.registry import load_recipe
from mulan.runs.run import Run, RunError
from mulan.storage.hub import PretrainedError
from mulan.tasks.tagging import TaggingTask, export_tagger
from mulan.training.state import Progress
from tests.checkpoints import write_checkpoint
from tests.model.audio_checkpoints import checkpoint_recipe, save_checkpoint
from tests.model.encoders import drawn, saved


def recipe_of(corpus: str, *settings: str, name: str = "demo_miniature") -> Recipe:
    return load_recipe(name, settings, data_uri=corpus)


def test_a_buildable_model_passes_and_the_random_state_is_unchanged(tiny_corpus: str, tmp_path: Path) -> None:
    spec = saved(drawn("mpnet"), tmp_path)
    state = torch.get_rng_state()
    reader = check_corpus(recipe_of(tiny_corpus, f"text_tower.pretrained={spec}", "text_tower.layers=0"))
    assert reader.corpus.uri == tiny_corpus
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("bert", ("text_tower.max_tokens=64",), r"text_tower\.max_tokens = 64, but it has positions for 24"),
        ("bert", ("text_tower.layers=3",), r"text_tower\.layers = 3, but it has 2"),
        ("bert", ("text_tower.frozen_layers=3", "text_tower.layers=0"), r"frozen_layers = 3, but it has 2"),
        ("gpt2", (), "causal"),
        ("bart", (), "an encoder with a decoder"),
    ],
)
def test_unusable_text_towers_are_refused(
    kind: str, settings: tuple[str, ...], words: str, tiny_corpus: str, tmp_path: Path
) -> None:
    spec = saved(drawn(kind), tmp_path)
    with pytest.raises(PretrainedError, match=words):
        check_corpus(recipe_of(tiny_corpus, f"text_tower.pretrained={spec}", *settings))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("distilbert", "no intermediate_size"),
        ("electra", "size 8 and its outputs 16"),
        ("mpnet", "layers of a mpnet cannot be run one by one"),
    ],
)
def test_text_towers_that_mulap_cannot_use_are_refused(kind: str, words: str, tiny_corpus: str, tmp_path: Path) -> None:
    spec = saved(drawn(kind), tmp_path)
    settings = (f"text_tower.pretrained={spec}", "text_tower.layers=0", "text_tower.max_tokens=16")
    with pytest.raises(PretrainedError, match=words):
        check_corpus(recipe_of(tiny_corpus, *settings, name="mulap_miniature"))


def test_a_text_tower_with_fewer_layers_than_the_fusion_is_refused(tiny_corpus: str, tmp_path: Path) -> None:
    spec = saved(drawn("bert"), tmp_path)
    settings = (f"text_tower.pretrained={spec}", "text_tower.layers=0", "text_tower.max_tokens=16")
    with pytest.raises(PretrainedError, match=r"it has 2 layers, fewer than mulap\.fusion_layers = 3"):
        check_corpus(recipe_of(tiny_corpus, *settings, "mulap.fusion_layers=3", name="mulap_miniature"))


@pytest.mark.parametrize("content", [b"", b"\xff" * 100_000, b"cut"], ids=["empty", "garbage", "cut"])
def test_damaged_weights_of_a_text_tower_are_refused(content: bytes, tiny_corpus: str, tmp_path: Path) -> None:
    spec, file = saved(drawn("bert"), tmp_path), tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-40] if content == b"cut" else content)
    with pytest.raises(PretrainedError, match="cannot be loaded: "):
        check_corpus(recipe_of(tiny_corpus, f"text_tower.pretrained={spec}", "text_tower.layers=0"))


@pytest.fixture
def tagger(tmp_path: Path) -> Path:
    """Returns an exported tagger with the audio tower of the miniature recipe."""
    recipe = load_recipe("m_resnet50_audioset_miniature", ["tagging.classes=2"])
    export_tagger(TaggingTask(recipe).build_model(), recipe, ["a", "b"], tmp_path / "tagger")
    return tmp_path / "tagger"


def test_a_warm_start_from_a_damaged_tagger_is_refused(tagger: Path, tiny_corpus: str) -> None:
    recipe = recipe_of(tiny_corpus, f"audio_tower.pretrained={tagger}", name="m_resnet50_miniature")
    check_corpus(recipe)
    weights = load_file(tagger / "model.safetensors")
    name = next(name for name, weight in weights.items() if name.startswith("audio_encoder.tower.") and weight.ndim)
    save_file(weights | {name: torch.zeros(3)}, tagger / "model.safetensors")
    with pytest.raises(PretrainedError, match=r"model\.safetensors does not fit config\.json"):
        check_corpus(recipe)
    (tagger / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(PretrainedError, match="cannot be read"):
        check_corpus(recipe)
    (tagger / "model.safetensors").unlink()
    with pytest.raises(PretrainedError, match="cannot be read"):
        check_corpus(recipe)
    (tagger / "config.json").write_text(json.dumps([1]))
    with pytest.raises(PretrainedError):
        check_corpus(recipe)


def test_a_warm_start_of_an_audio_tower_from_a_text_encoder_is_refused(tiny_corpus: str, tmp_path: Path) -> None:
    spec = saved(drawn("bert"), tmp_path)
    for name in ("m_resnet50_miniature", "m_ast_miniature"):
        with pytest.raises(PretrainedError, match=r"config\.json"):
            check_corpus(recipe_of(tiny_corpus, f"audio_tower.pretrained={spec}", name=name))


def test_steps_that_a_run_has_passed_cannot_be_profiled(tmp_path: Path) -> None:
    run, settings = Run(str(tmp_path), "run"), InstrumentSettings(StepRange(5, 6))
    check_instruments(InstrumentSettings(), recipe_of("/nowhere", "train.steps=4"), run)
    with pytest.raises(ProfileRefused, match=r"the last step is 4 \(train.steps\)"):
        check_instruments(settings, recipe_of("/nowhere", "train.steps=4"), run)
    check_instruments(settings, recipe_of("/nowhere"), run)
    write_checkpoint(run.uri, {"weights.a": torch.ones(1)}, Progress(6))
    with pytest.raises(ProfileRefused, match=f"run {run.uri} continues from its checkpoint of step 6; give later"):
        check_instruments(settings, recipe_of("/nowhere"), run)


def test_a_run_is_not_trained_in_the_folder_of_a_sweep(tmp_path: Path) -> None:
    run = Run(str(tmp_path), "run")
    check_is_no_sweep(run)
    (tmp_path / "run" / "trials" / "trial_0000").mkdir(parents=True)
    with pytest.raises(RunError, match=f"{run.uri} is a sweep; give the run another --name"):
        check_is_no_sweep(run)


def test_the_licence_of_a_checkpoint_is_reported(tmp_path: Path) -> None:
    stated, silent = (save_checkpoint("hubert", tmp_path / f"{k}-", licence=k) for k in ("cc-by-nc-4.0", ""))
    assert licence_lines(checkpoint_recipe("hubert", stated)) == [f"audio tower {stated}: licence cc-by-nc-4.0"]
    assert licence_lines(checkpoint_recipe("hubert", silent)) == [f"audio tower {silent}: no licence stated"]
    assert licence_lines(load_recipe("demo")) == []
