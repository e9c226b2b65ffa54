"""Scores on corrupted recordings (Guinot et al. 2024, SemiSupCon), of any corpus and of MagnaTagATune.

Tags are found by a probe on frozen vectors, which is trained on uncorrupted recordings, and, by models that embed text,
without training; captions search the corrupted recordings.
"""

from mulan.evaluation.protocols.probe import TaggingProbe
from mulan.evaluation.protocols.retrieval import CaptionRetrieval
from mulan.evaluation.protocols.robustness import Robustness
from mulan.evaluation.protocols.zero_shot import ZeroShotTagging
from mulan.evaluation.tasks.mtat import MTAT
from mulan.evaluation.tasks.task import EvaluationTask

ROBUSTNESS = EvaluationTask(
    name="robustness",
    title="Robustness on the corpus",
    description="Tags by category, and captions, of recordings under seven corruptions, each at five strengths.",
    prepared_by="",
    protocols=(
        Robustness(TaggingProbe(recordings="tagged"), "roc_auc"),
        Robustness(ZeroShotTagging("tagged"), "roc_auc"),
        Robustness(CaptionRetrieval("long_form"), "recall10"),
    ),
)

MTAT_ROBUSTNESS = EvaluationTask(
    name="mtat_robustness",
    title="Robustness on MagnaTagATune",
    description="Probe on the 50 tags, on clips with one of them, under seven corruptions, each at five strengths.",
    prepared_by=MTAT.prepared_by,
    protocols=(Robustness(TaggingProbe("mtat_top50", "mtat_top50_tagged", "logistic", "tagged"), "map"),),
)
