"""MuLaP at the paper's size (Manco et al. 2022, "Learning music audio representations via weak language supervision").

Values that the paper does not state, here and in :class:`mulan.config.objectives.MulapConfig`, are those of the code
that its authors published. Its weight decay, 0.01, is configured there, but its parameter groups do not reach the
optimizer; here matrices and convolutions decay, as intended.
"""

from mulan.config.audio import DecibelFrontEndConfig, MusicnnTowerConfig
from mulan.config.objectives import LossConfig, LossWeightsConfig
from mulan.config.recipe import Recipe
from mulan.config.sections import (
    BatchConfig,
    DataConfig,
    OptimConfig,
    ScaleConfig,
    SourceRatioConfig,
    TextTowerConfig,
    TrainConfig,
)
from mulan.recipes.mulan import BERT

CAPTIONS = SourceRatioConfig(short_form=0, long_form=1, playlist=0, audioset=0)
"""The only text source: sentences that describe a track (§3.1)."""
PAIRS = 200_410
"""Number of pairs in an epoch: 80 % of 250,513 (§3.1)."""
EPOCHS = 100


def mulap() -> Recipe:
    """MuLaP: 20 s of a track and its caption, masked and mismatched (§2).

    It differs from the paper in that the 20 s are sampled from the whole track instead of its beginning (§3.1), and
    from the published code in its precision, bf16 instead of float16. The regression target is the encoder's feature of
    a segment before masking, as in equation 3; the published code uses the zeros that replace it.
    """
    batch = BatchConfig(micro_batches=2, pairs_per_micro_batch=32)
    steps = -(-EPOCHS * PAIRS // batch.pairs)
    return Recipe(
        data=DataConfig(window_s=20.0, source_ratio=CAPTIONS),
        front_end=DecibelFrontEndConfig(),
        audio_tower=MusicnnTowerConfig(),
        text_tower=TextTowerConfig(pretrained=BERT, layers=6, max_tokens=64),
        loss=LossConfig(weights=LossWeightsConfig(contrastive=0, mlm=0.1, mam=4, atm=2)),
        batch=batch,
        optim=OptimConfig(
            lr=1e-4,
            beta2=0.98,
            weight_decay=0.01,
            warmup_steps=steps // 10,
            schedule="linear",
            decay_until_step=steps,
            max_grad_norm=0,
        ),
        train=TrainConfig(
            steps=steps,
            precision="bf16",
            zero_stage=1,
            checkpoint_every_steps=500,
            validate_every_steps=2000,
            validation_micro_batches=32,
        ),
        scale=ScaleConfig(workers=1, use_gpu=True, cpus_per_worker=1, data_cpus=8),
    )
