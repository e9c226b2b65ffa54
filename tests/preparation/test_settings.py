from mulan.preparation.fields import FieldsConfig
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.sources.registry import KINDS
from mulan.preparation.sources.table import TableConfig


def test_every_kind_of_source_has_a_section() -> None:
    assert set(KINDS) <= set(PreparationConfig.model_fields)


def test_sources_share_the_names_of_fields() -> None:
    shared = FieldsConfig(tags=("style",))
    config = PreparationConfig(fields=shared)
    assert config.of_source("table") == TableConfig(fields=shared)
    own = PreparationConfig(fields=shared, table=TableConfig(fields=FieldsConfig(tags=("mood",))))
    assert own.of_source("table") == own.table
