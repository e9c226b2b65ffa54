"""Origins of the values of SemiSupCon's recipes: the code that its authors published (Guinot et al. 2024)."""

from mulan.recipes.origins.origin import BATCH, OURS, UNBIASED, Origin, RecipeOrigins

CODE = "the authors' code"

_SEMISUPCON = RecipeOrigins(
    "semisupcon",
    (
        Origin(("data.sample_rate_hz", "data.window_s"), "", CODE),
        Origin(("front_end", "audio_tower"), "", f"{CODE}: SampleCNN on the waveform", UNBIASED),
        Origin(("semisupcon.augmentation",), "", CODE, "how a pitch is shifted is our own"),
        Origin(("loss.weights.semisupcon", "loss.weights.contrastive"), "", CODE),
        Origin(("semisupcon.views", "semisupcon.temperature"), "", CODE),
        Origin(
            (
                "semisupcon.labelled_share",
                "semisupcon.labels_used",
                "semisupcon.min_shared_tags",
                "semisupcon.weighting",
            ),
            "",
            CODE,
        ),
        Origin(("semisupcon.tag_prefix",), "", OURS, "all tags of the corpus; the code has MagnaTagATune's 50"),
        Origin(("semisupcon.head_hidden_size", "semisupcon.head_dim"), "", CODE),
        Origin(BATCH, "", f"{CODE}: 96 recordings"),
        Origin(("train.steps",), "", CODE),
        Origin(("optim.lr", "optim.beta1", "optim.beta2", "optim.epsilon", "optim.weight_decay"), "", f"{CODE}: Adam"),
        Origin(("optim.decay_factor", "optim.warmup_steps"), "", f"{CODE}: constant"),
        Origin(("optim.max_grad_norm",), "", f"{CODE}: none"),
        Origin(("train.precision",), "", OURS, "float32 in the code"),
    ),
    note="Only the code was compared, and not the text of the paper: the third column says nothing.",
)

_MULAN_SEMI = RecipeOrigins(
    "mulan_semi",
    (
        Origin(("loss.weights.semisupcon",), "", "weight of the audio term in the code of MusCALL (Manco et al. 2022)"),
        Origin(("semisupcon.tag_prefix", "semisupcon.labelled_share"), "", OURS),
    ),
    base="m_resnet50",
    note="Both terms together are of no paper.",
)

SEMISUPCON = (_SEMISUPCON, _MULAN_SEMI)
"""The recipes with SemiSupCon's term."""
