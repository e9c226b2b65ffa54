"""Tests errors between sections, each of which names the field and the remedy."""

import pytest

from mulan.config.checks import pretraining_warnings
from mulan.config.errors import RecipeError
from mulan.recipes.registry import load_recipe, named_recipes

TOGETHER = (
    "cannot be trained together; give weights either to contrastive, clip, decoupled, siglip and semisupcon, or to "
    "mlm, mam and atm, or to tagging"
)

FROZEN = ["audio_tower.family=pretrained", "audio_tower.pretrained=hubert", "audio_tower.frozen=true"]


def refused(recipe: str, *settings: str) -> tuple[str, ...]:
    with pytest.raises(RecipeError, match=f"recipe {recipe}") as caught:
        load_recipe(recipe, settings)
    return caught.value.faults


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        (
            "mulan_semi",
            ["loss.weights.tagging=1"],
            f"loss.weights.contrastive, loss.weights.semisupcon and loss.weights.tagging {TOGETHER}",
        ),
        (
            "semisupcon",
            ["loss.weights.mam=1", "data.window_s=3"],
            f"loss.weights.semisupcon and loss.weights.mam {TOGETHER}",
        ),
        (
            "mulap",
            ["loss.weights.contrastive=1", "loss.weights.mam=0", "loss.weights.tagging=0.5"],
            "loss.weights.contrastive, loss.weights.mlm, loss.weights.atm and loss.weights.tagging " + TOGETHER,
        ),
        (
            "demo",
            ["audio_tower.family=pretrained", "audio_tower.pretrained=hubert"],
            "audio_tower.family = pretrained does not go with front_end.family = vggish; a pretrained tower needs its "
            "own feature extractor, so set both to pretrained or neither",
        ),
        (
            "semisupcon",
            ["front_end.family=pretrained"],
            "audio_tower.family = samplecnn does not go with front_end.family = pretrained; a pretrained tower needs "
            "its own feature extractor, so set both to pretrained or neither",
        ),
        (
            "mulan_semi",
            ["front_end.family=pretrained", *FROZEN],
            "with audio_tower.frozen = true, loss.weights.semisupcon would only train modules that are not exported; "
            "set audio_tower.frozen to false, or audio_tower.layers to weighted",
        ),
        (
            "mulap",
            ["front_end.family=pretrained", *FROZEN],
            "with audio_tower.frozen = true, loss.weights.mlm, loss.weights.mam and loss.weights.atm would only train "
            "modules that are not exported; set audio_tower.frozen to false, or audio_tower.layers to weighted",
        ),
        ("semisupcon", ["loss.weights.semisupcon=0"], "loss.weights are all 0; at least one term needs a weight"),
        (
            "mulap",
            ["loss.weights.mlm=0", "loss.weights.mam=0", "loss.weights.atm=0"],
            "loss.weights are all 0; at least one term needs a weight",
        ),
        (
            "mulan_semi",
            ["loss.weights.siglip=1", "loss.weights.clip=2"],
            "loss.weights.contrastive, loss.weights.clip and loss.weights.siglip would share one temperature, although "
            "only siglip has a bias beside it; give weights either to siglip, or to contrastive, clip and decoupled",
        ),
        (
            "demo",
            ["loss.bias_init=-5"],
            "loss.bias_init = -5 needs a weight of siglip in loss.weights; give one, or leave it at -10",
        ),
        (
            "semisupcon",
            ["loss.temperature_init=0.2"],
            "loss.temperature_init = 0.2 needs a weight of contrastive, clip, decoupled or siglip in loss.weights; "
            "give one, or leave it at 0.1",
        ),
        (
            "mulap",
            ["loss.mask_equal_texts=true"],
            "loss.mask_equal_texts = true needs a weight of contrastive, clip, decoupled or siglip in loss.weights; "
            "give one, or leave it at false",
        ),
        (
            "semisupcon",
            ["semisupcon.augmentation.pitch_semitones=0.3"],
            "semisupcon.augmentation.pitch_semitones = 0.3 allows no ratio of divisors of data.sample_rate_hz = 22050; "
            "raise it, or set semisupcon.augmentation.pitch_probability to 0",
        ),
        (
            "mulan_semi",
            ["data.sample_rate_hz=16001"],
            "semisupcon.augmentation.pitch_semitones = 4 allows no ratio of divisors of data.sample_rate_hz = 16001; "
            "raise it, or set semisupcon.augmentation.pitch_probability to 0",
        ),
        ("mulap", ["mulap.segment_s=20.5"], "mulap.segment_s = 20.5 is longer than data.window_s = 20"),
        (
            "mulap",
            ["mulap.segment_s=0.1"],
            "0.1 s (data.window_s or, for MuLaP, mulap.segment_s) give 5 frames of the front end; "
            "at least 16 are required",
        ),
        (
            "mulan_semi",
            ["data.window_s=0.02", "front_end.time_mask_frames=0"],
            "0.02 s (data.window_s or, for MuLaP, mulap.segment_s) give 0 frames of the front end; "
            "at least 16 are required",
        ),
        (
            "mulap",
            ["mulap.fusion_layers=5", "mulap.audio_layers=4"],
            "mulap.audio_layers = 4 is less than one for each of mulap.fusion_layers = 5; set it to 5 or more",
        ),
        (
            "mulap",
            ["text_tower.layers=1"],
            "text_tower.layers = 1 is less than one for each of mulap.fusion_layers = 2; set it to 2 or more, or to 0 "
            "for all",
        ),
        (
            "mulap",
            ["text_tower.length_groups=2"],
            "text_tower.length_groups = 2 is not supported by MuLaP; set it to 1",
        ),
        (
            "m_resnet50",
            ["optim.schedule=cosine", "train.steps=7"],
            "optim.schedule = cosine needs the step at which the learning rate reaches 0; set optim.decay_until_step, "
            "normally to train.steps = 7",
        ),
        (
            "demo",
            ["optim.schedule=linear", "optim.decay_until_step=20", "optim.warmup_steps=20", "train.steps=7"],
            "optim.decay_until_step = 20 must be above optim.warmup_steps = 20, where the decay begins",
        ),
        (
            "demo",
            ["optim.schedule=linear", "optim.decay_until_step=21", "train.steps=22"],
            "train.steps = 22 is above optim.decay_until_step = 21, after which the learning rate is 0; set "
            "train.steps to at most 21, or optim.decay_until_step to 22 in a new run",
        ),
        (
            "m_resnet50",
            ["optim.decay_until_step=1040"],
            "optim.decay_until_step = 1040 has no effect with optim.schedule = step; set it to 0, or set "
            "optim.schedule to linear or cosine",
        ),
        (
            "mulap",
            ['text_tower.prefix="query: "'],
            "text_tower.prefix = 'query: ' is not supported by MuLaP, which would predict its tokens in every caption; "
            "leave it empty",
        ),
        (
            "mulap",
            ["text_tower.pooling=mean"],
            "text_tower.pooling = mean is not supported by MuLaP, which uses the outputs at all positions; set it to "
            "cls",
        ),
        (
            "mulap",
            ["scale.workers=4", "batch.micro_batches=6"],
            "scale.workers = 4 cannot share batch.micro_batches = 6; it must be one of 1, 2, 3, 6",
        ),
        (
            "semisupcon",
            ["scale.workers=2", "train.validation_micro_batches=5"],
            "train.validation_micro_batches = 5 cannot be shared evenly among scale.workers = 2; make it a multiple",
        ),
        (
            "semisupcon",
            ["scale.workers=[3, 5]"],
            "scale.workers = [3, 5] cannot share batch.micro_batches = 2; it must be one of 1, 2",
        ),
        (
            "mulan_semi",
            ["train.compile=true", "train.zero_stage=3"],
            "train.compile does not work with the sharded weights of train.zero_stage = 3; use stage 1 or 2",
        ),
        (
            "mulap",
            ["audio_tower.family=samplecnn"],
            "audio_tower.family = samplecnn does not accept the output of front_end.family = decibel; "
            "samplecnn needs the waveform, all others a spectrogram",
        ),
        (
            "semisupcon",
            ["audio_tower.family=musicnn"],
            "audio_tower.family = musicnn does not accept the output of front_end.family = waveform; "
            "samplecnn needs the waveform, all others a spectrogram",
        ),
        (
            "semisupcon",
            ["data.window_s=2.6"],
            "audio_tower.block_channels has 9 blocks, which require 59049 samples; a window has 57330",
        ),
        (
            "mulap",
            [
                "front_end.family=waveform",
                "audio_tower={family='samplecnn', block_channels=[8, 8]}",
                "mulap.segment_s=0.001",
            ],
            "audio_tower.block_channels has 2 blocks, which require 27 samples; a window has 16",
        ),
        (
            "mulap",
            ["data.sample_rate_hz=8000"],
            "front_end.mel_max_hz = 8000 is above half of data.sample_rate_hz = 8000",
        ),
        ("mulan_semi", ["front_end.mel_min_hz=7500"], "front_end.mel_min_hz = 7500 is not below mel_max_hz = 7500"),
        ("mulan_semi", ["front_end.window_ms=0.03"], "front_end.window_ms = 0.03 is less than one sample"),
        (
            "mulap",
            ["audio_tower.family=ast", "audio_tower.patch_size=97"],
            "audio_tower.patch_size = 97 does not fit 96 mel channels by 186 frames",
        ),
        (
            "mulap",
            ["mulap.segment_s=0.5", "audio_tower={family='ast', patch_size=31}"],
            "audio_tower.patch_size = 31 does not fit 96 mel channels by 30 frames",
        ),
        (
            "mulap",
            ["audio_tower.vertical_heights=[0.4, 0.01]"],
            "audio_tower.vertical_heights: 0.01 of 96 mel channels rounds down to 0",
        ),
        (
            "mulap",
            ["front_end.frequency_mask_bins=97"],
            "front_end.frequency_mask_bins = 97 is above mel_channels = 96",
        ),
        (
            "mulap",
            ["front_end.time_mask_frames=187"],
            "front_end.time_mask_frames = 187 is above the window's 186 frames",
        ),
    ],
)
def test_sections_that_do_not_fit_together_give_one_error(recipe: str, settings: list[str], message: str) -> None:
    assert refused(recipe, *settings) == (message,)


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        ("mulap", ["loss.weights.mlm=0", "loss.weights.mam=0"]),
        ("mulap", ["mulap.segment_s=20"]),
        ("mulap", ["mulap.fusion_layers=6"]),
        ("mulap", ["text_tower.layers=0"]),
        ("mulap", ["mulap.fusion_layers=1", "loss.weights.mlm=0", "loss.weights.atm=0"]),
        ("mulap", ["audio_tower={family='ast', patch_size=96}"]),
        ("mulap", ["front_end.time_mask_frames=186", "front_end.frequency_mask_bins=96"]),
        ("mulap", ["front_end.family=waveform", "audio_tower={family='samplecnn', block_channels=[8, 8]}"]),
        ("mulan_semi", ["loss.weights.contrastive=0"]),
        ("mulan_semi", ["loss.weights.semisupcon=0", "text_tower.length_groups=9"]),
        ("mulan_semi", ["loss.weights.clip=1", "loss.weights.decoupled=1", "loss.mask_equal_texts=true"]),
        ("mulan_semi", ["loss.weights.contrastive=0", "loss.weights.siglip=1", "loss.bias_init=3"]),
        ("mulan_semi", ["mulap.segment_s=99"]),  # unused without MuLaP's terms
        ("mulan_semi", ["text_tower.layers=1", "mulap.audio_layers=1"]),
        ("mulan_semi", ["train.compile=true", "train.zero_stage=2"]),
        ("demo", ["optim.schedule=cosine", "optim.decay_until_step=21", "train.steps=21"]),  # the warm-up has 20 steps
        ("semisupcon", ["data.window_s=2.678", "semisupcon.labelled_share=as_found"]),
        ("semisupcon", ["front_end.family=decibel", "audio_tower.family=musicnn"]),
        ("semisupcon", ["semisupcon.augmentation={pitch_semitones=0.3, pitch_probability=0}"]),
        ("mulan_semi", ["loss.weights.semisupcon=0", "semisupcon.augmentation.pitch_semitones=0.3"]),
        ("semisupcon", ["semisupcon.augmentation={gain_min_db=5, delay_min_ms=500, noise_min_decay=2}"]),
    ],
)
def test_limits_are_inclusive(recipe: str, settings: list[str]) -> None:
    load_recipe(recipe, settings)


def test_all_errors_between_sections_are_listed() -> None:
    settings = ["loss.weights.tagging=1", "scale.workers=3", "train.compile=true", "train.zero_stage=3"]
    (faults,) = refused("mulap", *settings, "mulap.segment_s=30", "text_tower.length_groups=4")
    for message in (
        TOGETHER,
        "mulap.segment_s = 30",
        "length_groups = 4",
        "scale.workers = 3",
        "train.compile does not",
    ):
        assert message in faults


def test_recipes_whose_source_pretrains_the_audio_tower_warn_without_weights() -> None:
    pretrained_by_source = {name for name in named_recipes() if name.startswith(("m_", "mulan_semi"))}
    pretrained_by_source -= {"m_resnet50_audioset"}
    for name, recipe in named_recipes().items():
        random = recipe.with_random_audio_tower()
        warnings = list(pretraining_warnings(random.audio_tower))
        expected = name in pretrained_by_source and not name.endswith("_miniature")
        assert len(warnings) == expected
        assert all(warning.startswith("the audio tower starts from random weights") for warning in warnings)
        assert all("set audio_tower.pretrained to an" in warning for warning in warnings)
        given = random.replace({"audio_tower.pretrained": "runs/trunk/model"})
        assert not list(pretraining_warnings(given.audio_tower))
        if expected:
            assert not list(pretraining_warnings(random.audio_tower.replace(expects_pretrained=False)))
    assert not list(pretraining_warnings(named_recipes()["m_ast"].audio_tower))
    assert list(pretraining_warnings(named_recipes()["m_resnet50"].audio_tower))
