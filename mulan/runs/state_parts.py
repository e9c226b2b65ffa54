"""Parts of a state: files in the format safetensors with whole tensors and slices of tensors.

A part is written by one worker. An entry of its name is a whole tensor; any other entry is a slice, about which the
metadata of the file says, as JSON by the name of the entry, the ``tensor``, its whole ``shape`` and the ``start`` in
the flattened tensor. So a file of whole tensors is a part as well.
"""

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file

from mulan.config.errors import MulanError
from mulan.training.state import SavedState
from mulan.training.tensor_slices import TensorSlice

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""Types of tensors by their names in the header of a file."""


class PartCopy:
    """A copy of slices in a single block of memory on the CPU, which later changes of their tensors do not affect."""

    def __init__(self, slices: Iterable[TensorSlice]) -> None:
        # the largest types come first, so that each entry begins at a multiple of its size
        ordered = sorted(slices, key=lambda one: -one.values.element_size())
        self.nbytes = sum(one.values.nbytes for one in ordered)
        """Size of all elements in bytes."""
        # not pinned: the memory is needed for seconds, and PyTorch would keep up to twice as much
        block = torch.empty(self.nbytes, dtype=torch.uint8)
        self._entries: dict[str, torch.Tensor] = {}
        self._metadata: dict[str, str] = {}
        offset = 0
        for one in ordered:
            copied = block[offset : offset + one.values.nbytes].view(one.values.dtype).view(one.values.shape)
            copied.copy_(one.values)
            offset += one.values.nbytes
            self._add(one, copied)

    def _add(self, one: TensorSlice, copied: torch.Tensor) -> None:
        if one.is_whole:
            self._entries[one.name] = copied.view(one.shape)
            return
        entry = f"{one.name}[{one.start}:{one.start + copied.numel()}]"
        self._entries[entry] = copied
        self._metadata[entry] = json.dumps({"tensor": one.name, "shape": one.shape, "start": one.start})

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the part without a further copy in memory.

        Raises:
            OSError, SafetensorError: The file cannot be written.
        """
        save_file(self._entries, path, self._metadata or None)

    def release(self) -> None:
        """Frees the memory, whoever still refers to this object, as the traceback of a failed write does."""
        self._entries.clear()


class UnfitParts(MulanError, ValueError):
    """Raised when files are not the parts of a state: they do not have each element of each tensor exactly once."""


class _Piece(NamedTuple):
    """A stored slice."""

    start: int
    numel: int
    file: int
    """Descriptor of the file."""
    offset: int
    """Position of the first element in the file, in bytes."""
    dtype: torch.dtype
    shape: tuple[int, ...]
    """Shape of the whole tensor."""


class StoredState(SavedState):
    """The state in the parts of a checkpoint, of which only what is asked for is read, into the memory where it stays.

    The readers of safetensors map whole files, whose pages then count as memory of the process, or read whole entries.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        """Opens the files, which may be removed afterwards.

        Raises:
            UnfitParts: A file is no part, or the parts do not have each element of each tensor exactly once, with one
                type and shape.
            OSError: A file cannot be opened.
        """
        pieces: dict[str, list[_Piece]] = defaultdict(list)
        with ExitStack() as opened:
            for path in paths:
                file = opened.enter_context(open(path, "rb", buffering=0))
                try:
                    for name, piece in _pieces(file.fileno()):
                        pieces[name].append(piece)
                except (ValueError, TypeError, KeyError, AttributeError) as error:
                    fault = f"{type(error).__name__}: {error}"
                    raise UnfitParts(f"{os.path.basename(path)} is no part of a state: {fault}") from error
            self._pieces = {name: sorted(found, key=lambda piece: piece[:2]) for name, found in pieces.items()}
            for name in self._pieces:
                self._check(name)
            self._files = opened.pop_all()

    def _check(self, name: str) -> None:
        forms = {(piece.dtype, piece.shape) for piece in self._pieces[name]}
        if len(forms) > 1:
            named = sorted(f"{str(dtype).removeprefix('torch.')} {list(shape)}" for dtype, shape in forms)
            raise UnfitParts(f"the parts of the checkpoint have {name} as {' and as '.join(named)}")
        end = 0
        for piece in self._pieces[name]:
            if piece.start != end:
                break
            end += piece.numel
        else:
            if end == math.prod(self.shape(name)):
                return
        raise UnfitParts(f"the parts of the checkpoint do not have {name} exactly once from element {end} on")

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)

    def __contains__(self, name: object) -> bool:
        return name in self._pieces  # without reading it

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor = torch.empty(self.shape(name), dtype=self._pieces[name][0].dtype)
        self.read_into(name, tensor)
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        return self._pieces[name][0].shape

    def read_into(self, name: str, target: torch.Tensor, *, start: int = 0) -> None:
        dtype = self._pieces[name][0].dtype
        if target.device.type != "cpu" or target.dtype != dtype or not target.is_contiguous():
            stored = torch.empty(target.shape, dtype=dtype)
            self.read_into(name, stored, start=start)
            target.copy_(stored)
            return
        flat, stop = target.detach().view(-1), start + target.numel()
        for piece in self._pieces[name]:
            first, last = max(start, piece.start), min(stop, piece.start + piece.numel)
            if first < last:
                offset = piece.offset + (first - piece.start) * dtype.itemsize
                _read(piece.file, flat[first - start : last - start], offset)

    def close(self) -> None:
        self._files.close()
        self._pieces.clear()


def _pieces(file: int) -> Iterator[tuple[str, _Piece]]:
    length, size = int.from_bytes(os.pread(file, 8, 0), "little"), os.fstat(file).st_size
    if length > size:
        raise ValueError("its header is longer than the file")
    header: dict[str, Any] = json.loads(os.pread(file, length, 8))
    metadata = header.pop("__metadata__", {})
    for entry, about in header.items():
        whole = {"tensor": entry, "shape": about["shape"], "start": 0}
        of = json.loads(metadata[entry]) if entry in metadata else whole
        offset, end = (8 + length + place for place in about["data_offsets"])
        numel, dtype, shape = math.prod(about["shape"]), DTYPES[about["dtype"]], tuple(of["shape"])
        if end - offset != numel * dtype.itemsize or end > size:
            raise ValueError(f"{entry} does not have the size of its shape")
        yield of["tensor"], _Piece(int(of["start"]), numel, file, offset, dtype, shape)


def _read(file: int, target: torch.Tensor, offset: int) -> None:
    unread = target.view(torch.uint8).numpy().data
    while unread:  # a call reads at most 2 GiB
        count = os.preadv(file, [unread], offset)
        if not count:
            raise ValueError("a part of the checkpoint has been truncated since it was verified")
        unread, offset = unread[count:], offset + count
