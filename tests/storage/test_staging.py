"""Tests where files are written before they are moved to where readers look for them."""

import tempfile
from pathlib import Path

from mulan.storage.staging import STAGING_PREFIX, staging_folder


def test_a_local_folder_has_them_in_itself(tmp_path: Path) -> None:
    with staging_folder(str(tmp_path / "new" / "corpus")) as folder:
        assert Path(folder).parent == tmp_path / "new" / "corpus"
        assert Path(folder).name.startswith(STAGING_PREFIX)
    assert list((tmp_path / "new" / "corpus").iterdir()) == []


def test_other_storage_has_them_in_the_temporary_folder() -> None:
    with staging_folder("memory://corpus") as folder:
        assert Path(folder).parent == Path(tempfile.gettempdir())
