"""The check of a model's folder against an index, which needs neither torch nor the weights in memory."""

from pathlib import Path

from mulan.evaluation.encoders.digest import folder_sha256
from mulan.search.errors import UnusableIndex
from mulan.search.manifest import IndexManifest
from mulan.storage import filesystem


def check_model_folder(model_uri: str, manifest: IndexManifest, index_uri: str) -> None:
    """Checks that a local folder contains the model of an index; one that is not local is checked when it is loaded.

    Args:
        model_uri: Path or URI of the folder of an exported model.
        manifest: Manifest of the index.
        index_uri: Folder of the index, for messages.

    Raises:
        OtherModel: It contains another model.
        UnusableIndex: It does not exist.
    """
    if not filesystem.is_local(model_uri):
        return
    folder = Path(filesystem.url_to_fs(model_uri)[1])
    if not folder.is_dir():
        raise UnusableIndex(
            f"the index {index_uri} is searched with the model {model_uri}, which does not exist; name the folder of "
            "the model where it is now"
        )
    manifest.check_model(folder_sha256(folder), model_uri, index_uri)
