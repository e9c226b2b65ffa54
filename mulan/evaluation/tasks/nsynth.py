"""NSynth (Engel et al. 2017): single notes of 4 s with the family of their instrument and their pitch."""

from mulan.evaluation.protocols.class_probe import ClassificationProbe
from mulan.evaluation.protocols.zero_shot import ZeroShotClassification
from mulan.evaluation.tasks.task import WHOLE_RECORDINGS, EvaluationTask

NSYNTH = EvaluationTask(
    name="nsynth",
    title="NSynth",
    description="Classification of notes as one of 11 families of instruments, and of 128 pitches.",
    prepared_by=f"--source nsynth=FOLDER {WHOLE_RECORDINGS}",
    protocols=(
        ZeroShotClassification("nsynth_families", "nsynth_families"),
        ClassificationProbe("nsynth_families"),
        ClassificationProbe("nsynth_pitches"),
    ),
)
