"""Shards: plain WebDataset tars. A recording is two adjacent members, ``KEY.flac`` (or another codec) and ``KEY.json``.

Any WebDataset reader reads them; the index adds the byte range of every recording, so that one recording is one ranged
read. Here is all that others need: to write them, to adopt tars that were made elsewhere, and to read recordings.
"""

from mulan.data.adoption import index_shards
from mulan.data.records import Record, parse_read, parse_record, read_record
from mulan.data.writing import Recording, write_corpus

__all__ = ["Record", "Recording", "index_shards", "parse_read", "parse_record", "read_record", "write_corpus"]
