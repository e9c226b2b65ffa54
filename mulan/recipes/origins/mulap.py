"""Origins of the values of MuLaP's recipe. Section numbers refer to Manco et al. 2022."""

from mulan.recipes.origins.origin import BATCH, OURS, UNBIASED, Origin, RecipeOrigins

CODE = "the authors' code"

MULAP = RecipeOrigins(
    "mulap",
    (
        Origin(
            ("data.source_ratio",), "captions of tracks", "§3.1", "captions are the texts of the source `long_form`"
        ),
        Origin(("data.window_s",), "the first 20 s", "§3.1", "20 s from anywhere in the track"),
        Origin(("front_end",), "a mel spectrogram (§3.1)", f"{CODE}: in decibels, neither normalised nor masked"),
        Origin(("audio_tower",), "musicnn (§3.1)", f"{CODE}, a PyTorch port of musicnn", UNBIASED),
        Origin(("audio_tower.pretrained",), "trained from scratch with the rest", "§3.1"),
        Origin(("mulap.segment_s",), "3 s", "§3.1"),
        Origin(("text_tower.pretrained",), "BERT-base", "§2.1"),
        Origin(
            ("text_tower.layers", "mulap.fusion_layers", "mulap.audio_layers"),
            "L - N = 4 text layers, then N = 2 co-attention layers",
            f"§3.1; {CODE}, where self-attention follows each co-attention layer",
            "figure 2 shows co-attention only",
        ),
        Origin(("text_tower.max_tokens",), "", CODE),
        Origin(
            (
                "mulap.fusion_size",
                "mulap.fusion_heads",
                "mulap.audio_size",
                "mulap.audio_heads",
                "mulap.audio_feed_forward_size",
                "mulap.dropout",
            ),
            "ViLBERT's (§3.1)",
            CODE,
        ),
        Origin(("mulap.token_mask_probability", "mulap.segment_mask_probability"), "", CODE),
        Origin(("mulap.mismatch_probability",), "0.5", "§2.2"),
        Origin(
            ("loss.weights.mlm", "loss.weights.mam", "loss.weights.atm", "loss.weights.contrastive"),
            "three terms, weighted by hand (§2.2)",
            CODE,
            "the regression target is equation 3's feature; in the code it is the zeros that replace it",
        ),
        Origin(BATCH, "", f"{CODE}: 64"),
        Origin(("train.steps",), "80 % of 250,513 pairs (§3.1)", f"{CODE}: 100 epochs"),
        Origin(("optim.lr", "optim.beta1", "optim.beta2", "optim.epsilon"), "", CODE),
        Origin(("optim.weight_decay",), "", CODE, "there, the optimizer does not receive it"),
        Origin(("optim.warmup_steps",), "", f"{CODE}: 10 % of the steps"),
        Origin(("optim.schedule", "optim.decay_until_step"), "", f"{CODE}: linearly to 0 at the last step"),
        Origin(("optim.max_grad_norm",), "", f"{CODE}: none"),
        Origin(("train.precision",), "", OURS, "the code has mixed precision in float16"),
    ),
)
"""The recipe of MuLaP."""
