"""Origins of the values of MuLan's recipes. Section numbers refer to Huang et al. 2022."""

from mulan.recipes.origins.origin import BATCH, OURS, Origin, RecipeOrigins

SUMMARIES = "published summaries of the paper"
"""Origin of numbers that the paper gives and that are taken from others' descriptions of it."""

_M_RESNET50 = RecipeOrigins(
    "m_resnet50",
    (
        Origin(("data.source_ratio",), "SF:LF:PL:ASET at 2:2:1:1 in each batch", "§3.4"),
        Origin(("data.text_sampling",), "one of the recording's texts at random", "§3.1"),
        Origin(("data.window_s",), "10 s, randomly selected", "§3.2"),
        Origin(("data.sample_rate_hz",), "", "Hershey et al. 2017, whose network it adapts"),
        Origin(("front_end.window_ms", "front_end.hop_ms"), "25 ms Hann window, 10 ms step", "§3.2"),
        Origin(("front_end.mel_channels",), "a number of mel channels (§3.1)", f"{SUMMARIES}; Hershey et al. 2017"),
        Origin(
            ("front_end.mel_min_hz", "front_end.mel_max_hz", "front_end.log_offset"),
            "",
            "Hershey et al. 2017, whose network it adapts",
        ),
        Origin(("front_end.mean", "front_end.std"), "", OURS),
        Origin(
            ("front_end.frequency_mask_bins", "front_end.time_mask_frames"),
            "SpecAugment with AST's parameters (§3.2)",
            "AST's code for AudioSet",
            "bins of 64 mel channels, where AST has 128",
        ),
        Origin(
            (
                "audio_tower.layer",
                "audio_tower.stem_channels",
                "audio_tower.stage_channels",
                "audio_tower.stage_depths",
            ),
            "Resnet-50",
            "§3.2",
        ),
        Origin(("audio_tower.stem_stride",), "stride of 2 of the first convolution removed", "§3.2"),
        Origin(
            ("audio_tower.pretrained", "audio_tower.expects_pretrained"),
            "pretrained on AudioSet",
            "§3.2",
            "random weights unless you name the model of a run of `m_resnet50_audioset`",
        ),
        Origin(("text_tower.pretrained",), "BERT base-uncased, public checkpoint", "§3.3"),
        Origin(("text_tower.pooling",), "[CLS]", "§3.3"),
        Origin(("text_tower.max_tokens",), "a fixed length (§3.1)", SUMMARIES),
        Origin(("embedding_dim",), "128", "§4.1.2"),
        Origin(
            ("loss.weights.contrastive", "loss.mask_equal_texts"),
            "batch-wise contrastive multiview coding against all other pairs",
            "§3.1",
        ),
        Origin(("loss.temperature_init",), "an initial value (§4)", SUMMARIES),
        Origin(
            BATCH,
            "a number of pairs (§4)",
            f"6,144 in {SUMMARIES}",
            "batch norm uses the statistics of a micro-batch",
        ),
        Origin(("train.steps",), "14 epochs", "§4", "an epoch is taken to be 44 M pairs of any source"),
        Origin(("optim.lr",), "an initial value (§4), unknown to us", OURS),
        Origin(("optim.pretrained_lr_scale",), "", OURS, "the paper mentions no such multiple"),
        Origin(("optim.schedule", "optim.decay_factor", "optim.decay_every_steps"), "factor 0.9 every 40K steps", "§4"),
        Origin(("optim.warmup_steps",), "no warm-up is mentioned", "§4"),
        Origin(
            ("optim.beta1", "optim.beta2", "optim.epsilon", "optim.weight_decay"),
            "Adam (§4)",
            "PyTorch's defaults",
        ),
        Origin(("optim.max_grad_norm",), "no clipping is mentioned", OURS),
        Origin(("train.precision",), "", OURS),
    ),
)

_M_AST = RecipeOrigins(
    "m_ast",
    (
        Origin(
            (
                "front_end.family",
                "front_end.mel_channels",
                "front_end.mel_min_hz",
                "front_end.mel_max_hz",
                "front_end.preemphasis",
                "front_end.mean",
                "front_end.std",
            ),
            "the public AST checkpoint (§3.2)",
            "that checkpoint's feature extractor",
        ),
        Origin(
            (
                "audio_tower.family",
                "audio_tower.layers",
                "audio_tower.hidden_size",
                "audio_tower.heads",
                "audio_tower.patch_stride",
            ),
            "AST: 12 blocks of 768, 12 heads, stride 10",
            "§3.2",
        ),
        Origin(
            ("audio_tower.feed_forward_size", "audio_tower.patch_size", "audio_tower.dropout"),
            "",
            "the public AST checkpoint",
        ),
        Origin(("audio_tower.pretrained",), "the public AST checkpoint", "§3.2"),
        Origin(BATCH, "a number of pairs (§4)", f"5,120 in {SUMMARIES}"),
        Origin(("train.steps",), "14 epochs", "§4", "an epoch is taken to be 44 M pairs of any source"),
    ),
    base="m_resnet50",
)

_PSLA = "PSLA's code, full set"

_M_RESNET50_AUDIOSET = RecipeOrigins(
    "m_resnet50_audioset",
    (
        Origin(("loss.weights.tagging", "loss.weights.contrastive"), "logistic regression", "§3.2"),
        Origin(("data.source_ratio",), "AudioSet", "§3.2"),
        Origin(("tagging.prefix", "tagging.classes"), "all 527 classes", "§3.2"),
        Origin(("text_tower.pretrained", "text_tower.length_groups"), "", "no text is used"),
        Origin(("audio_tower.expects_pretrained",), "", OURS, "PSLA's networks are pretrained on ImageNet"),
        Origin(BATCH, "", f"{_PSLA}: 100 on 4 GPUs"),
        Origin(("train.steps",), "", f"{_PSLA}: 30 epochs", "no averaging of weights"),
        Origin(("optim.lr", "optim.beta1", "optim.warmup_steps"), "", _PSLA),
        Origin(
            ("optim.decay_factor", "optim.decay_every_steps", "optim.decay_start_step"),
            "",
            f"{_PSLA}: halved after epoch 10 and every 5 epochs",
        ),
        Origin(("optim.weight_decay",), "", OURS, "PSLA has 5e-7"),
        Origin(("optim.max_grad_norm",), "", f"{_PSLA}: none"),
        Origin(("optim.pretrained_lr_scale",), "", "nothing is pretrained"),
    ),
    base="m_resnet50",
    note="The paper gives no details of this pretraining. PSLA's class-balanced sampling and mixup are not available.",
)

_ABLATIONS = tuple(
    RecipeOrigins(
        f"m_resnet50_{name}",
        (Origin(("data.source_ratio",), stated, "§4, table 4(b)"),),
        base="m_resnet50",
        note=f"`m_ast_{name}` is `m_ast` with this ratio.",
    )
    for name, stated in {
        "aset": "ASET",
        "aset_sf": "ASET + SF",
        "aset_sf_lf": "ASET + SF + LF",
        "unfiltered": "SF/LF Unfiltered",
    }.items()
)

MULAN = (_M_RESNET50, _M_AST, *_ABLATIONS, _M_RESNET50_AUDIOSET)
"""MuLan's recipes."""
