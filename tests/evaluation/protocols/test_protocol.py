import numpy as np
import pytest

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.recordings import LabelledRecording
from tests.evaluation.protocols.planted_model import evaluated, random_text_vector


def test_a_protocol_gets_the_embedded_recordings_of_its_split() -> None:
    recordings = [LabelledRecording(str(n), ("train", "test")[n % 2], artist="a") for n in range(4)]
    model = evaluated(recordings, np.eye(4), random_text_vector)
    test = model.of_split("test")
    assert [each.recording_id for each in test.recordings] == ["1", "3"]
    np.testing.assert_array_equal(test.means, np.eye(4)[[1, 3]])
    assert model.resampling(test.recordings).num_groups == 1  # of one artist
    with pytest.raises(EvaluationError, match="no embedded recordings in the split 'validation'"):
        model.of_split("validation")
    with pytest.raises(EvaluationError, match="no embedded recordings in the split 'test'"):
        evaluated(recordings, None, random_text_vector).of_split("test")
