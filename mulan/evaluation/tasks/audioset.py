"""Classes of music of AudioSet (Gemmeke et al. 2017): 25 genres, and two readings of the 141 classes of MuLan §4.1.1.

The paper speaks of "the music related portion of AudioSet" without saying which clips that is. Ranked are the clips of
the evaluation table with at least one class of the list, and the probes of MuLan (§4.1.2) are trained on such clips of
the training tables, which have no validation split.
"""

from mulan.evaluation.protocols.probe import TaggingProbe
from mulan.evaluation.protocols.zero_shot import ZeroShotTagging
from mulan.evaluation.tasks.task import WHOLE_RECORDINGS, EvaluationTask

_LISTS = ("audioset_gen25", "audioset_mu141_without_roles", "audioset_mu141_without_moods")

AUDIOSET = EvaluationTask(
    name="audioset",
    title="AudioSet",
    description="Tagging with Gen-25 and both readings of Mu-141, on the evaluation clips with one of the classes.",
    prepared_by=f"--source audioset=FOLDER --set audioset.music_only=true {WHOLE_RECORDINGS}",
    protocols=(
        *(ZeroShotTagging("tagged", classes, classes) for classes in _LISTS),
        *(TaggingProbe(classes, classes, "logistic", "tagged") for classes in _LISTS),
    ),
)
