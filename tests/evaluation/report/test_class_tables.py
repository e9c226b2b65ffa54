"""Classes are sorted by recall, with what they are mistaken for, and further models are beside the first."""

from mulan.evaluation.report.class_tables import ClassRow, class_tables
from mulan.evaluation.report.summary import summarize
from mulan.evaluation.report.tag_tables import MARKERS
from tests.evaluation.report.planted_report import MODELS, ODD, encoder_info, planted_scores


def test_classes_are_sorted_with_intervals_and_mistakes_beside_those_of_other_models() -> None:
    made = summarize(planted_scores(), models=[encoder_info(name) for name in MODELS], tasks=[])
    (view,) = class_tables(made)
    assert (view.section, view.set_name, view.others) == ("zero_shot", "gtzan", ((MODELS[2], MARKERS[0]),))
    metal, blues, jazz = view.rows
    assert metal == ClassRow("metal", 1.0, (0.9, 1.0), 29, "", (1.0,))
    assert (blues.name, blues.recall, blues.mistaken_for) == ("blues", 0.8, "jazz")
    assert (jazz.name, jazz.recall, jazz.mistaken_for) == ("jazz", 0.4, ODD)


def test_sets_without_classes_have_no_table() -> None:
    scores = {"one": [each for each in planted_scores()[MODELS[0]] if each.name != "gtzan"]}
    assert list(class_tables(summarize(scores, models=[encoder_info("one")], tasks=[]))) == []
