"""Tests the counts of the task of NSynth on small files of the official layout."""

from pathlib import Path

from mulan.evaluation.tasks.nsynth import NSYNTH
from tests.evaluation.tasks.genuine import counts_of, labelled, random_model, scores_by_set
from tests.preparation.sources import test_nsynth as official

FAMILIES = ("bass", "organ", "vocal")


def test_the_families_and_pitches_of_the_official_notes_are_classified(tmp_path: Path) -> None:
    for split, count in (("train", 12), ("valid", 3), ("test", 6)):
        names = [f"{FAMILIES[row % 3]}_acoustic_000-{60 + row % 4:03d}-{row:03d}" for row in range(count)]
        notes = {key: entry for name in names for key, entry in official.note(name).items()}
        official.written(tmp_path, split, notes)
    found, faults = official.found(tmp_path)
    assert len(found) == 21 and not faults.left_out
    model = random_model(labelled(found))
    (zero_shot,) = scores_by_set(NSYNTH, model, "zero_shot").values()
    assert counts_of(zero_shot, "recordings", "left_out", "tags", "scored_tags", "positives") == (6, 0, 11, 3, 6)
    probes = scores_by_set(NSYNTH, model, "probes")
    for name, classes, tested, trained in (("nsynth_families", 11, 3, 3), ("nsynth_pitches", 128, 4, 4)):
        probe = probes[name]
        assert counts_of(probe, "train_recordings", "validation_recordings", "recordings") == (12, 3, 6)
        assert counts_of(probe, "left_out", "classes", "tested_classes") == (0, classes, tested)
        assert probe.counts["untrained_classes"] == classes - trained
