from mulan.data.corpus.fields import Fields
from mulan.preparation.fields import FieldsConfig
from mulan.preparation.settings import PreparationConfig


def test_settings_name_the_fields() -> None:
    config = PreparationConfig().replace({"fields.texts": {"long_form": ["caption*"]}, "fields.tags": ["style"]})
    assert config.fields.fields() == Fields({"long_form": ("caption*",)}, ("style",))
    assert FieldsConfig().fields() == Fields()
