"""Contrastive learning of audio and text (MuLan, CLIP, SigLIP), alone or together with that of views (SemiSupCon)."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from mulan.config.recipe import Recipe
from mulan.data.text import pretrained_tokenizer
from mulan.model.device_batch import DeviceBatch
from mulan.model.inference.files import TOKENIZER, ModelConfig, write_model
from mulan.model.joint import JointModel
from mulan.model.outputs import Embeddings
from mulan.model.towers.text import TextTower
from mulan.model.views import ViewHead
from mulan.objectives.contrastive import clip_loss, contrastive_loss, decoupled_loss
from mulan.objectives.siglip import siglip_loss
from mulan.tasks.audio_encoder import encoder_from_recipe, exported_fields
from mulan.tasks.views import semisupcon_term, window_retrieval_scores


class JointTask:
    """Trains two towers that embed audio and text in one space; see :class:`mulan.tasks.task.Task`."""

    gradient_caching = True

    def __init__(
        self,
        recipe: Recipe,
        contrastive: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor] = (
            contrastive_loss
        ),
    ) -> None:
        """
        Args:
            contrastive: Function with the signature of ``contrastive_loss`` that computes the contrastive term.
        """
        self.weights, self._recipe, self._contrastive = recipe.loss.weights, recipe, contrastive

    def build_model(self, text_tower: TextTower | None = None) -> JointModel:
        recipe = self._recipe
        text_tower = text_tower or TextTower.from_section(recipe.text_tower)
        audio_encoder = encoder_from_recipe(recipe)
        return JointModel(
            audio_encoder=audio_encoder,
            text_tower=text_tower,
            embedding_dim=recipe.embedding_dim,
            temperature_init=recipe.loss.temperature_init,
            bias_init=recipe.loss.bias_init if self.weights.siglip else None,
            view_head=ViewHead(audio_encoder.output_dim, recipe.semisupcon) if self.weights.semisupcon else None,
            precision=recipe.train.precision,
        )

    def loss_terms(self, outputs: Embeddings, batches: Sequence[DeviceBatch]) -> dict[str, torch.Tensor]:
        audio, text, temperature, _, bias = outputs
        assert audio is not None and text is not None and temperature is not None
        texts = torch.cat([batch.texts for batch in batches]) if self._recipe.loss.mask_equal_texts else None
        terms = {}
        if self.weights.contrastive:
            terms["contrastive"] = self._contrastive(audio, text, temperature, texts)
        if self.weights.clip:
            terms["clip"] = clip_loss(audio, text, temperature, texts)
        if self.weights.decoupled:
            terms["decoupled"] = decoupled_loss(audio, text, temperature, texts)
        if self.weights.siglip:
            assert bias is not None
            terms["siglip"] = siglip_loss(audio, text, temperature, bias, texts)
        if self.weights.semisupcon:
            terms["semisupcon"] = semisupcon_term(outputs, batches, self._recipe.semisupcon)
        return terms

    def validation_scores(self, outputs: Iterable[tuple[DeviceBatch, Embeddings]]) -> dict[str, float]:
        """Computes the scores of retrieving the windows of recordings with their texts as queries."""
        audio: list[torch.Tensor] = []
        text: list[torch.Tensor] = []
        recording_ids: list[str] = []
        for batch, embeddings in outputs:
            assert embeddings.audio is not None and embeddings.text is not None
            audio.append(embeddings.audio)
            text.append(embeddings.text)
            recording_ids.extend(batch.batch.recording_id)
        return window_retrieval_scores(torch.cat(audio), torch.cat(text), recording_ids)

    def export(self, model: JointModel, folder: Path) -> None:
        """Writes both towers and the tokenizer for :class:`mulan.MuLan`."""
        recipe = self._recipe
        tokenizer = pretrained_tokenizer(recipe.text_tower.pretrained)
        config = ModelConfig(
            **exported_fields(model.audio_encoder, recipe),
            text_encoder=model.text_tower.config,
            max_tokens=recipe.text_tower.max_tokens,
            pooling=recipe.text_tower.pooling,
            prefix=recipe.text_tower.prefix,
            embedding_dim=recipe.embedding_dim,
        )
        in_training_only = ("view_head.", "logit_bias.")
        state = model.state_dict().items()
        weights = {name: tensor for name, tensor in state if not name.startswith(in_training_only)}
        write_model(weights, config, folder)
        tokenizer.save_pretrained(folder / TOKENIZER)
