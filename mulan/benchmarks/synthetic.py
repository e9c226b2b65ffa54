"""Randomly initialised models and synthetic batches, which need no downloads and cost the same as real ones."""

import numpy as np
import torch
from transformers import BertConfig, BertModel

from mulan.config.recipe import Recipe
from mulan.data.batch import NOT_PREDICTED, Batch, Masks
from mulan.data.schedule import Item, Phase
from mulan.model.audio_encoder import TrainedModel
from mulan.model.towers.text import TextTower
from mulan.recipes.mulan import BERT
from mulan.tasks.task import task_of

BERT_WIDTH = 768
"""Hidden size of BERT-base, which has a head for every 64 channels, and four times the width between layers."""

SYNTHETIC_TAGS = 50
"""Number of tags, that of the widely used subset of MagnaTagATune."""


def model_to_measure(recipe: Recipe, *, bert_width: int = BERT_WIDTH) -> TrainedModel:
    """Builds a recipe's model with BERT-base-uncased randomly initialised at its size; other encoders are loaded.

    Args:
        bert_width: Hidden size of BERT, for a narrower one.
    """
    recipe = recipe.with_random_audio_tower()
    torch.manual_seed(recipe.train.seed)
    if recipe.text_tower.pretrained != BERT:
        return task_of(recipe).build_model()
    config = BertConfig(
        hidden_size=bert_width,
        num_attention_heads=max(1, bert_width // 64),
        intermediate_size=4 * bert_width,
        num_hidden_layers=recipe.text_tower.layers or BertConfig().num_hidden_layers,
    )
    return task_of(recipe).build_model(TextTower(BertModel(config, add_pooling_layer=False)))


def synthetic_batch(recipe: Recipe, *, step: int, micro_batch: int, tokens: int) -> Batch:
    """Returns a micro-batch of noise.

    Args:
        step: Step in the run; together with ``micro_batch``, determines the values.
        micro_batch: Index of the micro-batch in the step.
        tokens: Length of every text; 0 draws lengths from 3 to the recipe's ``max_tokens``, log-uniformly.
    """
    rng = np.random.default_rng((recipe.train.seed, step, micro_batch))
    m, max_length = recipe.batch.pairs_per_micro_batch, recipe.text_tower.max_tokens
    if not recipe.loss.weights.uses_text:
        lengths, max_length = np.zeros(m, np.int64), 0
    elif tokens:
        lengths, max_length = np.full(m, tokens), tokens
    else:
        lengths = np.exp(rng.uniform(np.log(3), np.log(max_length + 1), m)).astype(np.int64)
    mask = (np.arange(max_length) < lengths[:, None]).astype(np.int64)
    classes = recipe.tagging.classes if recipe.loss.weights.uses_classes else 0
    if recipe.loss.weights.semisupcon:
        classes = SYNTHETIC_TAGS
    waveform = rng.integers(-8000, 8000, (m, recipe.views, recipe.data.window_samples), np.int16)
    token_ids = rng.integers(1000, 20_000, mask.shape) * mask
    return Batch(
        item=Item(Phase.TRAIN, step, micro_batch),
        waveform=waveform,
        token_ids=token_ids,
        attention_mask=mask,
        tags=(rng.random((m, classes)) < 0.01).astype(np.uint8),
        recording_id=tuple(f"noise {micro_batch * m + number}" for number in range(m)),
        skipped=(),
        masks=_synthetic_masks(recipe, rng, token_ids) if recipe.loss.weights.uses_mulap else None,
    )


def _synthetic_masks(recipe: Recipe, rng: np.random.Generator, token_ids: np.ndarray) -> Masks:
    m, mulap, weights = len(token_ids), recipe.mulap, recipe.loss.weights
    matched = rng.random(m) >= (mulap.mismatch_probability if weights.atm else 0)
    predicted = (rng.random(token_ids.shape) < mulap.token_mask_probability) & (token_ids > 0) & matched[:, None]
    hidden = rng.random((m, recipe.segments)) < mulap.segment_mask_probability
    return Masks(
        np.where(predicted, token_ids, NOT_PREDICTED)[:, : token_ids.shape[1] if weights.mlm else 0],
        (hidden if weights.mam else np.zeros_like(hidden)).astype(np.uint8),
        matched.astype(np.uint8),
    )
