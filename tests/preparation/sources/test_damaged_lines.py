from mulan.preparation.sources.damaged_lines import DamagedLines


def test_a_fault_names_its_line_the_file_and_the_remedy() -> None:
    lines = DamagedLines("s3://b/table.csv", "get it again")
    lines.add(7, "no id")
    assert lines.faults() == ["s3://b/table.csv, line 7: no id; get it again"]


def test_lines_with_the_same_fault_are_named_together() -> None:
    lines = DamagedLines("table.csv", "get it again")
    for line in (3, 9, 12):
        lines.add(line, "no id")
    lines.add(10, "no time")
    assert lines.faults() == [
        "table.csv, lines 3, 9, 12: no id; get it again",
        "table.csv, line 10: no time; get it again",
    ]


def test_the_first_20_lines_are_named_and_the_others_counted() -> None:
    lines = DamagedLines("table.csv", "get it again")
    for line in range(1, 30):
        lines.add(line, "no id")
    named = ", ".join(map(str, range(1, 21)))
    assert lines.faults() == [f"table.csv, lines {named} and 9 more: no id; get it again"]


def test_of_more_than_20_different_faults_the_lines_of_the_others_are_counted() -> None:
    lines = DamagedLines("table.csv", "get it again")
    for line in range(1, 31):
        lines.add(line, f"no class {line % 25}")
    faults = lines.faults()
    assert len(faults) == 21
    assert faults[0] == "table.csv, lines 1, 26: no class 1; get it again"
    assert faults[-1] == "table.csv: 5 more lines have other faults"


def test_without_damage_there_are_no_faults() -> None:
    assert DamagedLines("table.csv", "get it again").faults() == []
