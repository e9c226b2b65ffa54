import pytest

from mulan.data.errors import CorpusError
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.tasks.request import task_requests


def test_tasks_have_their_own_corpus_or_the_default_one_which_is_opened_once(tiny_corpus: str) -> None:
    requests = task_requests(["tags", f"captions={tiny_corpus}", "playlists"], default_corpus=tiny_corpus)
    assert [each.task.name for each in requests] == ["tags", "captions", "playlists"]
    assert {each.corpus.uri for each in requests} == {tiny_corpus}
    assert requests[0].corpus is requests[2].corpus


def test_all_faults_are_listed_with_their_remedies() -> None:
    with pytest.raises(EvaluationError) as raised:
        task_requests(["tag", "mtat", "captions=/a", "captions=/b"])
    message = str(raised.value)
    assert "there is no task 'tag'; did you mean tags?" in message
    assert "the task mtat needs the folder of its corpus, which jobs.prepare makes with --source mtat=FOLDER" in message
    assert "the task captions is named twice" in message


def test_a_corpus_that_does_not_exist_is_named() -> None:
    with pytest.raises(CorpusError, match="/nowhere"):
        task_requests(["tags=/nowhere"])
