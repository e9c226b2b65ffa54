"""The Free Music Archive data set (Defferrard et al. 2017): clips of 30 s in 8 genres (small) or 16 (medium).

The splits are the official ones. Tracks that the authors list as damaged are not in the corpus.
"""

from mulan.evaluation.protocols.class_probe import ClassificationProbe
from mulan.evaluation.protocols.zero_shot import ZeroShotClassification
from mulan.evaluation.tasks.task import WHOLE_RECORDINGS, EvaluationTask

FMA_SMALL, FMA_MEDIUM = (
    EvaluationTask(
        name=f"fma_{subset}",
        title=f"FMA-{subset}",
        description=f"Classification of the clips of the test split as one of {genres} genres.",
        prepared_by=f"--source fma=FOLDER --set fma.subset={subset} {WHOLE_RECORDINGS}",
        protocols=(
            ZeroShotClassification(f"fma_{subset}", f"fma_{subset}"),
            ClassificationProbe(f"fma_{subset}"),
        ),
    )
    for subset, genres in (("small", 8), ("medium", 16))
)
