"""What is left out is named with its sets, once for each model and reason."""

from mulan.evaluation.left_out import LeftOutNotes
from mulan.evaluation.protocols.probe import TaggingProbe
from mulan.evaluation.protocols.robustness import Robustness
from mulan.evaluation.protocols.zero_shot import ZeroShotClassification, ZeroShotTagging
from mulan.evaluation.report.summary import LeftOut


def test_protocols_and_sets_are_named_by_model_and_reason() -> None:
    notes = LeftOutNotes()
    tagging = ZeroShotTagging("all", "mtat_top50_tagged", "mtat_top50")
    for protocol in (tagging, ZeroShotClassification("gtzan", "gtzan"), tagging, Robustness(tagging, "roc_auc")):
        notes.add("one", protocol, "no text")
    notes.add("one", TaggingProbe("genre:"), "no genres")
    notes.add("two", TaggingProbe(), "no genres")
    tags = "zero shot tagging mtat_top50_tagged"
    assert notes.entries == (
        LeftOut("one", f"{tags}, zero shot classification gtzan, robustness of {tags}", "no text"),
        LeftOut("one", "tagging probe genre:", "no genres"),
        LeftOut("two", "tagging probe", "no genres"),
    )
    assert notes.reasons == "one: no text; one: no genres; two: no genres"
