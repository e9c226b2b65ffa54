"""Tests recursive operations on folders whose names look like patterns, which must not affect other folders."""

import uuid
from pathlib import Path

import pytest
from pyarrow.fs import FileSelector, FileType, PyFileSystem

from mulan.model.inference.files import open_model_folder
from mulan.runs.checkpoint_list import remove_checkpoint
from mulan.storage import filesystem
from mulan.storage.trees import LiteralHandler
from tests.conftest import S3

ODD = ["exp[12]", "exp?", "exp*", "e**", "exp{1,2}", "exp[!3]", "exp#1 %41é"]
OTHERS = ["exp1", "exp2", "exp10", "exp", "expA", "exp1 A"]


@pytest.fixture(params=["s3", "memory", "disk"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        bucket: S3 = request.getfixturevalue("s3")
        return bucket.uri
    return f"memory://{uuid.uuid4().hex}" if request.param == "memory" else str(tmp_path)


def fill(place: str, names: list[str]) -> None:
    for name in names:
        for file in ("manifest.json", "deep/er/state"):
            filesystem.write_atomically(f"{place}/{name}/run/checkpoint_000000200/{file}", name.encode())


def files_of(place: str, name: str) -> list[str]:
    return filesystem.names_in(f"{place}/{name}/run/checkpoint_000000200")


@pytest.mark.parametrize("odd", ODD)
def test_only_the_named_checkpoint_is_removed(place: str, odd: str) -> None:
    fill(place, [odd, *OTHERS])
    remove_checkpoint(f"{place}/{odd}/run/checkpoint_000000200")
    assert files_of(place, odd) == []
    assert [name for name in OTHERS if sorted(files_of(place, name)) != ["deep", "manifest.json"]] == []
    remove_checkpoint(f"{place}/{odd}/run/checkpoint_000000200")  # which does not exist


def test_files_with_a_common_name_prefix_are_kept(place: str) -> None:
    fill(place, OTHERS)
    filesystem.remove_folder(f"{place}/exp1")
    assert sorted(filesystem.names_in(place)) == sorted(set(OTHERS) - {"exp1"})


@pytest.mark.parametrize("odd", ODD)
def test_only_the_named_folder_is_copied(place: str, odd: str) -> None:
    fill(place, [odd, *OTHERS])
    with open_model_folder(f"{place}/{odd}/run/") as folder:
        files = [path for path in folder.path.rglob("*") if path.is_file()]
        copied = {str(path.relative_to(folder.path)): path.read_text() for path in files}
    assert copied == {f"checkpoint_000000200/{file}": odd for file in ("manifest.json", "deep/er/state")}


@pytest.mark.parametrize("odd", ODD)
def test_ray_s_operations_affect_only_the_named_paths(place: str, odd: str) -> None:
    fill(place, [odd, *OTHERS])
    fs, root = filesystem.url_to_fs(place)
    files = PyFileSystem(LiteralHandler(fs))
    inner = f"{root}/{odd}/run/checkpoint_000000200"
    files.copy_file(f"{inner}/manifest.json", f"{root}/{odd}/copy")
    files.move(f"{root}/{odd}/copy", f"{root}/{odd}/moved")
    assert filesystem.read_bytes(f"{place}/{odd}/moved") == odd.encode()
    with pytest.raises(FileNotFoundError):
        files.delete_file(f"{root}/{odd}/copy")
    files.delete_file(f"{root}/{odd}/moved")
    files.delete_dir_contents(f"{inner}/deep")
    assert not filesystem.exists(f"{place}/{odd}/run/checkpoint_000000200/deep/er/state")
    files.delete_dir(f"{root}/{odd}")
    assert files.get_file_info(f"{root}/{odd}").type == FileType.NotFound
    left = files.get_file_info(FileSelector(root, recursive=True))
    assert len([one for one in left if one.type == FileType.File]) == 2 * len(OTHERS)


def test_ray_moves_folders_completely(place: str) -> None:
    fill(place, ["exp[12]", *OTHERS])
    fs, root = filesystem.url_to_fs(place)
    PyFileSystem(LiteralHandler(fs)).move(f"{root}/exp[12]", f"{root}/new*")
    assert sorted(files_of(place, "new*")) == ["deep", "manifest.json"]
    assert filesystem.names_in(f"{place}/exp[12]") == []
    assert [name for name in OTHERS if not files_of(place, name)] == []
