"""Models and batches that need nothing downloaded: what a step costs does not depend on what the numbers are."""

import numpy as np
import torch
from transformers import BertConfig, BertModel

from mulan.config.mulan_recipes import BERT
from mulan.config.recipe import Recipe
from mulan.data.batch import Batch
from mulan.data.schedule import Item, Phase
from mulan.model.audio_encoder import AudioEncoder
from mulan.model.build import build_model
from mulan.model.joint import JointModel
from mulan.model.tagging import TaggingModel
from mulan.model.text_tower import TextTower


def without_checkpoints(recipe: Recipe) -> Recipe:
    """The recipe with an audio tower whose weights are drawn."""
    return recipe.model_copy(update={"audio_tower": recipe.audio_tower.model_copy(update={"pretrained": ""})})


def model_to_measure(recipe: Recipe) -> JointModel | TaggingModel:
    """The recipe's model; BERT-base-uncased is drawn at its own size, other text encoders are the recipe's."""
    recipe = without_checkpoints(recipe)
    torch.manual_seed(recipe.train.seed)
    if recipe.text_tower.pretrained != BERT:
        return build_model(recipe)
    return JointModel(
        audio_encoder=AudioEncoder.from_recipe(recipe),
        text_tower=TextTower(BertModel(BertConfig(), add_pooling_layer=False)),
        embedding_dim=recipe.embedding_dim,
        temperature_init=recipe.loss.temperature_init,
        precision=recipe.train.precision,
    )


def drawn_batch(recipe: Recipe, *, step: int, micro_batch: int, tokens: int) -> Batch:
    """A micro-batch of noise.

    Args:
        tokens: of every text; 0 draws lengths from 3 to the recipe's ``max_tokens``, short ones more often.
    """
    rng = np.random.default_rng((recipe.train.seed, step, micro_batch))
    m, widest = recipe.batch.pairs_per_micro_batch, recipe.text_tower.max_tokens
    if not recipe.text_tower.pretrained:
        lengths, widest = np.zeros(m, np.int64), 0
    elif tokens:
        lengths, widest = np.full(m, tokens), tokens
    else:
        lengths = np.exp(rng.uniform(np.log(3), np.log(widest + 1), m)).astype(np.int64)
    mask = (np.arange(widest) < lengths[:, None]).astype(np.int64)
    classes = recipe.tagging.classes if recipe.loss.weights.tagging else 0
    return Batch(
        item=Item(Phase.TRAIN, step, micro_batch),
        waveform=rng.integers(-8000, 8000, (m, 1, recipe.data.window_samples), np.int16),
        token_ids=rng.integers(1000, 20_000, mask.shape) * mask,
        attention_mask=mask,
        tags=(rng.random((m, classes)) < 0.01).astype(np.uint8),
        recording_id=tuple(f"noise {number}" for number in range(m)),
        replaced=(),
    )
