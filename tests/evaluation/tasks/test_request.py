from pathlib import Path

import pytest

from mulan.config.errors import MulanError, SeveralErrors
from mulan.data.corpus.index import Corpus
from mulan.data.errors import CorpusError
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.protocols.templates import PromptTemplates
from mulan.evaluation.tasks.request import check_corpora, task_requests
from tests.evaluation.tasks.planted_tasks import ontology_file


def test_tasks_have_their_own_corpus_or_the_default_one_which_is_opened_once(tiny_corpus: str) -> None:
    requests = task_requests(["tags", f"captions={tiny_corpus}", "playlists"], default_corpus=tiny_corpus)
    assert [each.task.name for each in requests] == ["tags", "captions", "playlists"]
    assert {each.corpus.uri for each in requests if each.corpus} == {each.uri for each in requests} == {tiny_corpus}
    assert requests[0].corpus is requests[2].corpus


def test_all_faults_are_listed_with_their_remedies() -> None:
    with pytest.raises(SeveralErrors) as raised:
        task_requests(["tag", "mtat", "captions=/a", "captions=/b"], templates=PromptTemplates.parsed(["a {}"]))
    message = str(raised.value)
    assert "there is no task 'tag'; did you mean tags?" in message
    assert "the task mtat needs the folder of its corpus, which jobs.prepare makes with --source mtat=FOLDER" in message
    assert "the task captions is named twice" in message
    assert "corpus /a: there is no index.parquet" in message
    assert "--template: none of the tasks has prompts of tags" in message


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_tasks_of_any_corpus_score_the_named_split(split: str, tiny_corpus: str) -> None:
    names = ["tags", "captions", "playlists", "triplets"]
    tags, *others, triplets = task_requests(names, default_corpus=tiny_corpus, split=split)
    assert all(each.task.splits == (split,) for each in others) and triplets.task.splits == ()
    zero_shot, probe = tags.task.protocols
    trained_on = set() if split == "train" else {"train", "validation"}
    assert zero_shot.splits == (split,) and set(probe.splits) == {split, *trained_on}
    sources = [vars(protocol)["source"] for protocol in triplets.task.protocols]
    assert [source.split for source in sources] == [split] * 2


def test_tasks_of_public_data_sets_refuse_another_split_than_theirs(tiny_corpus: str) -> None:
    message = "the task gtzan scores the official test split of a public data set, not validation"
    with pytest.raises(EvaluationError, match=message):
        task_requests([f"gtzan={tiny_corpus}", f"tags={tiny_corpus}"], split="validation")
    (request,) = task_requests([f"gtzan={tiny_corpus}"], split="test")
    assert request.task.splits == ("test", "train", "validation")


def test_the_task_of_a_file_has_no_corpus(tmp_path: Path, tiny_corpus: str) -> None:
    uri = ontology_file(tmp_path)
    ontology, tags = task_requests([f"ontology={uri}", "tags"], default_corpus=tiny_corpus, split="validation")
    assert (ontology.corpus, ontology.uri, ontology.task.splits) == (None, uri, ())
    assert tags.corpus is not None and tags.uri == tiny_corpus
    with pytest.raises(EvaluationError, match="the task ontology needs a file: --task ontology=FILE"):
        task_requests(["ontology"], default_corpus=tiny_corpus)


def test_a_file_that_cannot_be_used_is_an_error_before_anything_is_computed(tmp_path: Path) -> None:
    (tmp_path / "ontology.json").write_text("[]")
    with pytest.raises(EvaluationError, match="is not AudioSet's ontology"):
        task_requests([f"ontology={tmp_path / 'ontology.json'}"])
    with pytest.raises(MulanError, match="/nowhere"):
        task_requests(["ontology=/nowhere/ontology.json"])


def test_a_corpus_that_does_not_exist_is_named() -> None:
    with pytest.raises(CorpusError, match="/nowhere"):
        task_requests(["tags=/nowhere"])


def test_templates_that_no_prompt_would_have_are_refused(tiny_corpus: str) -> None:
    def requested(task: str, *words: str) -> None:
        task_requests([task], default_corpus=tiny_corpus, templates=PromptTemplates.parsed(words))

    requested("tags", "{} music", "genre={} song", "pitch=the note {}")
    with pytest.raises(EvaluationError, match=r"no tags of the category 'gnere', 'mood'; they have genre, pitch$"):
        requested("tags", "gnere={} song", "genre={} song", "mood={}")
    with pytest.raises(EvaluationError, match="none of the tasks has prompts of tags"):
        requested("captions", "{} music")


def test_probes_of_any_corpus_are_trained_on_a_part_of_a_large_one(tiny_corpus: str) -> None:
    whole = Corpus.open(tiny_corpus)
    count = len(whole.rows("train")) - 2
    names = ["tags", "captions", f"gtzan={tiny_corpus}"]
    tags, captions, gtzan = task_requests(names, default_corpus=tiny_corpus, max_train_recordings=count)
    assert tags.corpus is captions.corpus, "their vectors are computed once"
    assert tags.corpus is not None and len(tags.corpus.rows("train")) == count
    assert tags.note.startswith(f"Probes are trained on {count} of the {count + 2} recordings of the split train")
    assert captions.note == ""
    assert gtzan.note == "The corpus has 0 of the 10 tags of gtzan."
    assert gtzan.corpus is not None and gtzan.corpus.table.equals(whole.table)
    (scored,) = task_requests(["captions"], default_corpus=tiny_corpus, split="train", max_train_recordings=count)
    assert scored.corpus is not None and scored.corpus.table.equals(whole.table)


def test_a_corpus_without_the_split_is_named_with_those_that_it_has(tiny_corpus_with_unfiltered_texts: str) -> None:
    with pytest.raises(CorpusError, match="no recordings in the split 'test'; --split train scores"):
        task_requests(["captions"], default_corpus=tiny_corpus_with_unfiltered_texts)
    task_requests(["triplets"], default_corpus=tiny_corpus_with_unfiltered_texts)


def test_a_corpus_without_any_tag_of_a_public_data_set_is_refused_with_what_makes_the_right_one(
    tiny_corpus: str,
) -> None:
    requests = task_requests(["tags", "mtat", "gtzan"], default_corpus=tiny_corpus)
    with pytest.raises(SeveralErrors) as raised:
        check_corpora(requests)
    assert "no tag of the task mtat, such as mtat:guitar; jobs.prepare --source mtat=FOLDER" in str(raised.value)
    assert "no tag of the task gtzan, such as genre:" in str(raised.value)
    check_corpora(requests[:1])
