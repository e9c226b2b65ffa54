"""MTG-Jamendo (Bogdanov et al. 2019): full tracks with tags of genre, instrument, and mood or theme.

Each of the official subsets has the tracks with at least one of its tags, so that all are evaluated on one corpus, with
the probe of MuLaP (§3.2).
"""

from mulan.evaluation.protocols.probe import TaggingProbe
from mulan.evaluation.protocols.zero_shot import ZeroShotTagging
from mulan.evaluation.tasks.task import WHOLE_RECORDINGS, EvaluationTask

_SUBSETS = ("jamendo_top50", "jamendo_genre", "jamendo_instrument", "jamendo_moodtheme", "jamendo_all")

MTG_JAMENDO = EvaluationTask(
    name="mtg_jamendo",
    title="MTG-Jamendo",
    description="Tagging with the tags of each official subset, on its tracks: top50, genre, instrument, mood, all.",
    prepared_by=f"--source mtg_jamendo=FOLDER {WHOLE_RECORDINGS}",
    protocols=(
        *(ZeroShotTagging("tagged", subset, subset) for subset in _SUBSETS),
        *(TaggingProbe(subset, subset, "mlp", "tagged") for subset in _SUBSETS),
    ),
)
