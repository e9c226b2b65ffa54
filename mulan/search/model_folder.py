"""The check of a model's folder against an index, which needs neither torch nor the weights in memory."""

from mulan.evaluation.encoders.digest import folder_sha256
from mulan.model.inference.files import open_model_folder
from mulan.search.manifest import IndexManifest


def check_model_folder(model_uri: str, manifest: IndexManifest, index_uri: str) -> None:
    """Checks that a folder contains the model of an index.

    Args:
        model_uri: Path or URI of the folder of an exported model.
        manifest: Manifest of the index.
        index_uri: Folder of the index, for messages.

    Raises:
        OtherModel: It contains another model.
        ModelFolderError: It does not exist.
        StorageError: The storage does not respond.
    """
    with open_model_folder(model_uri) as folder:
        manifest.check_model(folder_sha256(folder.path), model_uri, index_uri)
