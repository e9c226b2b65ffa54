"""MagnaTagATune (Law et al. 2009): clips of 29 s with the 50 most frequent tags, or all 188.

Two test sets are in the literature, with average precisions that differ by 4 to 8 percent: all 5,329 annotated clips
of the test folders, of which 997 have none of the 50 tags, or only the 4,332 clips with one of them (4,462 with one of
the 188). Both are evaluated on the same corpus, with MuLan's probes (§4.1.2) and, for the 50 tags, MuLaP's (§3.2).
"""

from mulan.evaluation.protocols.probe import TaggingProbe
from mulan.evaluation.protocols.zero_shot import WhichRecordings, ZeroShotTagging
from mulan.evaluation.tasks.task import WHOLE_RECORDINGS, EvaluationTask

_RECORDINGS: dict[str, WhichRecordings] = {"annotated": "all", "tagged": "tagged"}
_SETS = [
    (f"mtat_{tags}_{clips}", f"mtat_{tags}", recordings)
    for tags in ("top50", "188")
    for clips, recordings in _RECORDINGS.items()
]
"""Name, vocabulary and recordings of each set."""

MTAT = EvaluationTask(
    name="mtat",
    title="MagnaTagATune",
    description="Tagging with 50 and 188 tags, on all annotated clips of the test folders and on those with a tag.",
    prepared_by=f"--source mtat=FOLDER --set mtat.tags=all {WHOLE_RECORDINGS}",
    protocols=(
        *(ZeroShotTagging(recordings, name, tags) for name, tags, recordings in _SETS),
        *(TaggingProbe(tags, name, "logistic", recordings) for name, tags, recordings in _SETS),
        *(
            TaggingProbe(tags, f"{name}_mlp", "mlp", recordings)
            for name, tags, recordings in _SETS
            if tags == "mtat_top50"
        ),
    ),
)
