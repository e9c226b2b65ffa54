from mulan.evaluation.protocols.queries import recordings_by_text
from mulan.evaluation.recordings import LabelledRecording


def test_a_text_of_several_recordings_is_one_query_for_all_of_them() -> None:
    texts = [("b", "a"), (), ("a",), ("c", "c")]
    recordings = [
        LabelledRecording(str(row), "test", texts={"long_form": each, "playlist": ("other",)})
        for row, each in enumerate(texts)
    ]
    found = recordings_by_text([*recordings, LabelledRecording("4", "test")], "long_form")
    assert found == {"a": (0, 2), "b": (0,), "c": (3,)}
    assert list(found) == ["a", "b", "c"]
