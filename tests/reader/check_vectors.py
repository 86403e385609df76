#!/usr/bin/env python3
"""Walks format/vectors/table.tsv with the reader in Python: check_vectors.py [ROOT [TABLE]]

TABLE is another table of the same form, whose files count from its own directory. Prints one line for
each vector that comes out otherwise. Exit code: 0 all as the table says, 1 not, 77 without the packages
xxhash and zstandard (Debian: python3-xxhash, python3-zstandard).
"""

import pathlib
import sys

try:
    import xxhash
    import zstandard
except ModuleNotFoundError as error:
    print(f"skipped: this Python has no {error.name} (Debian: python3-{error.name})")
    sys.exit(77)

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2])
sys.path.insert(0, str(ROOT / "format" / "reader"))
sys.dont_write_bytecode = True
import cairn_reader as reader  # noqa: E402

UUID = bytes(range(16))
END = 2**32
PLAIN_BYTES = 262150


class Part(reader.Pack):
    """A record that stands at 131072, as a pack."""

    def __init__(self, data):
        self.data, self.uuid, self.file_bytes = data, UUID, reader.DATA_BEGIN + len(data)

    def read(self, offset, count):
        begin = offset - reader.DATA_BEGIN
        return self.data[begin : begin + count]

    def payload(self, kind):
        _, _, payload_bytes, digest = self.record_header(reader.DATA_BEGIN)
        return self.record(reader.DATA_BEGIN, 128 + payload_bytes, kind, digest)


def read_everything(path):
    pack = reader.Pack(path)
    slots = pack.slots()
    reader.check(slots, "no slot can be read")
    for entry in pack.root_of(slots[0]).entries:
        pack.checkpoint(entry, slots[0].data_end).verify()


def decode(kind, path):
    data = path.read_bytes()
    if kind == "superblock":
        reader.Pack.check_superblock(data)
    elif kind == "slot":
        try:
            reader.Slot(data, UUID, 0)
        except reader.PackError:
            return "absent"
    elif kind in ("index-record", "root-record"):
        Part(data).payload(reader.INDEX if kind == "index-record" else reader.ROOT)
    elif kind == "index":
        reader.Index(data, END)
    elif kind == "root":
        reader.Root(data, END)
    elif kind == "chunk":
        reader.degroup(data, PLAIN_BYTES)
    elif kind == "pack":
        read_everything(path)
    else:
        return None  # not in the pack: the reader does not know it
    return "ok"


def main():
    wrong, count = 0, 0
    table = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "format/vectors/table.tsv"
    for line in table.read_text().splitlines()[1:]:
        name, kind, expected, _, digest, what = line.split("\t")
        path = table.parent / name
        try:
            outcome = decode(kind, path)
        except reader.PackError as error:
            outcome = error.code
        if outcome is None:
            continue
        count += 1
        if outcome != expected or reader.digest_of(path.read_bytes()).hex() != digest:
            wrong += 1
            print(f"{name}: {outcome}, not {expected}: {what}")
    print(f"{count} vectors, {wrong} otherwise than the table says")
    return 1 if wrong or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
