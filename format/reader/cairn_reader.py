#!/usr/bin/env python3
"""Reads checkpoints out of a Cairn pack, by format/SPEC.md alone.

    cairn_reader.py ls PACK                          one line for each checkpoint, newest first
    cairn_reader.py show PACK CKPT                   everything that a checkpoint says, as JSON
    cairn_reader.py extract PACK CKPT TENSOR [FILE]  a tensor's bytes, verified; to stdout without FILE

CKPT is a name, or an id; TENSOR is RECOVERABLE/KEY. Needs the package `xxhash` (Debian:
python3-xxhash), for compressed chunks also `zstandard` (Debian: python3-zstandard), and nothing
else: no catalog, no FlatBuffers, nothing of Cairn. Notes go to stderr. A pack that has lost both
superblocks is read by what is left of it, with a note.
Exit codes: 0 done, 1 error, 2 usage, 3 damage, 4 no such checkpoint or tensor.

The module is a library, too: `Pack(path).checkpoints()`. It refuses a pack without a good
superblock unless it is told `rescue=True`.
"""

import base64
import bisect
import itertools
import json
import os
import struct
import sys

import xxhash

try:
    import zstandard
except ModuleNotFoundError:  # only compressed chunks need it
    zstandard = None

VERSION = 1
COMPRESSED = 1  # incompat
ALIGNMENT = 4096
DATA_BEGIN = 131072
MAX_PACK_BYTES = 2**63 - ALIGNMENT
MAX_PAYLOAD_BYTES = 2**31 - 65536
MAX_CHUNK_BYTES = 67108864
RECORD_HEADER_BYTES = 128
RAW, GROUPED = 0, 1
FRAME_MAGIC = bytes.fromhex("28b52ffd")  # of Zstandard, RFC 8878
BLOCK_BYTES = 262144
INDEX, ROOT = 1, 2

# Number: (name, bits).
DTYPES = {
    1: ("bool", 8), 2: ("u8", 8), 3: ("i8", 8), 4: ("i16", 16), 5: ("i32", 32), 6: ("i64", 64),
    7: ("f16", 16), 8: ("bf16", 16), 9: ("f32", 32), 10: ("f64", 64), 11: ("c32", 32),
    12: ("c64", 64), 13: ("c128", 128), 14: ("u16", 16), 15: ("u32", 32), 16: ("u64", 64),
    17: ("f8_e5m2", 8), 18: ("f8_e4m3fn", 8), 19: ("f8_e5m2fnuz", 8), 20: ("f8_e4m3fnuz", 8),
    21: ("f8_e8m0fnu", 8), 22: ("f6_e2m3", 6), 23: ("f6_e3m2", 6), 24: ("f4_e2m1", 4),
}


class PackError(Exception):
    """`code` is one of Cairn's: damaged, truncated, unsupported_version."""

    def __init__(self, code, message, offset=None):
        place = "" if offset is None else f" (at byte {offset})"
        super().__init__(f"{code}: {message}{place}")
        self.code = code


def damaged(message, offset=None):
    raise PackError("damaged", message, offset)


def check(condition, message, offset=None):
    if not condition:
        damaged(message, offset)


def digest_of(data):
    return xxhash.xxh3_128_digest(data)  # canonical: big-endian


def round_up(n):
    return -(-n // ALIGNMENT) * ALIGNMENT


def ascending(items, what):
    check(all(a < b for a, b in zip(items, items[1:])), f"{what} do not ascend")


# ---- compressed chunks ---------------------------------------------------------------------------


def require_zstandard():
    if zstandard is None:
        raise PackError("unsupported_version", "the pack may hold compressed chunks, and this Python "
                        "has no zstandard (Debian: python3-zstandard)")


def degroup(data, plain_bytes):
    """The plain bytes of a chunk of encoding 1 (section Compressed chunks)."""
    require_zstandard()
    at = 0

    def take(count):
        nonlocal at
        check(count <= len(data) - at, "a compressed chunk is cut short")
        at += count
        return data[at - count : at]

    width, rotated, reserved = struct.unpack("<BB6s", take(8))
    check(width in (1, 2, 4, 8) and rotated in (0, 1), "a compressed chunk's layout")
    check(reserved == bytes(6), "a reserved byte of a compressed chunk is not zero")
    blocks = []
    for begin in range(0, plain_bytes, BLOCK_BYTES):
        block_bytes = min(BLOCK_BYTES, plain_bytes - begin)
        count, tail = divmod(block_bytes, width)
        lengths = struct.unpack(f"<{width}I", take(4 * width))
        check(max(lengths) <= count, "a group is longer than what it stands for")
        blocks.append((count, [take(length) for length in lengths], take(tail)))
    check(digest_of(data[:at]) == take(16), "a compressed chunk does not match its digest")
    check(not any(data[at:]), "what follows a compressed chunk is not zero")
    decompressor, plain = zstandard.ZstdDecompressor(), bytearray()
    for count, groups, tail in blocks:
        elements = bytearray(count * width)
        for k, group in enumerate(groups):
            if len(group) < count:
                group = decompress(decompressor, group, count)
            elements[k::width] = group
        plain += (unrotated(elements, width) if rotated else elements) + tail
    return bytes(plain)


def frame_bytes(group):
    """How long the frame of Zstandard is that a group begins with (RFC 8878, 3.1.1)."""
    at = zstandard.frame_header_size(group)
    last = False
    while not last:
        header = int.from_bytes(group[at : at + 3], "little")
        check(at + 3 <= len(group), "a group's frame is cut short")
        last, kind, length = header & 1, header >> 1 & 3, header >> 3
        at += 3 + (1 if kind == 1 else length)  # 1: one byte, repeated
    return at + 4 * zstandard.get_frame_parameters(group).has_checksum


def decompress(decompressor, group, count):
    try:
        check(group[:4] == FRAME_MAGIC, "a group is no frame of Zstandard")
        # A frame may say that it holds more than there is memory for: its word is looked at first.
        check(zstandard.frame_content_size(group) == count, "a group of another length")
        check(frame_bytes(group) == len(group), "a group is not one frame")
        plain = decompressor.decompress(group, max_output_size=count)
    except zstandard.ZstdError as error:
        damaged(f"a group does not decode: {error}")
    check(len(plain) == count, "a group does not decode to its length")
    return plain


def unrotated(elements, width):
    """Each element rotated right by one bit."""
    number = int.from_bytes(elements, "little")
    bits = 8 * width
    lowest = int.from_bytes((b"\1" + bytes(width - 1)) * (len(elements) // width), "little")
    low = number & lowest
    return ((number ^ low) >> 1 | low << (bits - 1)).to_bytes(len(elements), "little")


# ---- FlatBuffers ---------------------------------------------------------------------------------


class Payload:
    """A FlatBuffer: every access is bounds-checked, and decoding is on a budget (section Payloads)."""

    def __init__(self, data, identifier):
        check(16 <= len(data) <= MAX_PAYLOAD_BYTES, f"a payload of {len(data)} bytes")
        self.data = data
        self.budget = len(data)
        check(data[4:8] == identifier, f"the payload's identifier is not {identifier.decode()}")

    def root(self):
        return Table(self, self.offset(0))

    def spend(self, count):
        self.budget -= count
        check(self.budget >= 0, "the payload decodes to more than its length")

    def take(self, code, at):
        size = struct.calcsize("<" + code)
        check(at % size == 0, "a number is not aligned")
        check(0 <= at and at + size <= len(self.data), "an offset leads out of the payload")
        return struct.unpack_from("<" + code, self.data, at)[0]

    def offset(self, at):
        """The position that a u32 at `at` leads to."""
        distance = self.take("I", at)
        check(0 < distance < 2**31, "an offset leads nowhere")
        return at + distance

    def vector(self, at, item_bytes, alignment):
        """Position and count of a vector's elements."""
        count = self.take("I", at)
        begin = at + 4
        check(begin + count * item_bytes <= len(self.data), "a vector runs out of the payload")
        check(count == 0 or begin % alignment == 0, "a vector's elements are not aligned")
        self.spend(count * item_bytes)
        return begin, count


class Table:
    def __init__(self, payload, at):
        payload.spend(8)
        self.payload, self.at = payload, at
        self.vtable = at - payload.take("i", at)
        self.vtable_bytes = payload.take("H", self.vtable)
        check(self.vtable_bytes % 2 == 0, "a vtable has a wrong length")
        check(self.vtable + self.vtable_bytes <= len(payload.data), "a vtable is cut short")

    def place(self, field, size):
        """Where a field stands, or None."""
        if 4 + 2 * field + 2 > self.vtable_bytes:
            return None
        inside = self.payload.take("H", self.vtable + 4 + 2 * field)
        if inside == 0:
            return None
        check(self.at + inside + size <= len(self.payload.data), "a field lies outside of the payload")
        return self.at + inside

    def number(self, field, code):
        at = self.place(field, struct.calcsize("<" + code))
        return 0 if at is None else self.payload.take(code, at)

    def struct(self, field, size):
        at = self.place(field, size)
        return None if at is None else self.payload.data[at : at + size]

    def follow(self, field):
        at = self.place(field, 4)
        return None if at is None else self.payload.offset(at)

    def table(self, field):
        at = self.follow(field)
        return None if at is None else Table(self.payload, at)

    def bytes(self, field):
        at = self.follow(field)
        if at is None:
            return b""
        begin, count = self.payload.vector(at, 1, 1)
        return self.payload.data[begin : begin + count]

    def text(self, field):
        at = self.follow(field)
        if at is None:
            return b""
        self.payload.spend(9)
        begin, count = self.payload.vector(at, 1, 1)
        check(self.payload.data[begin + count : begin + count + 1] == b"\0", "a string has no end")
        return self.payload.data[begin : begin + count]

    def numbers(self, field, code):
        at = self.follow(field)
        if at is None:
            return ()
        size = struct.calcsize("<" + code)
        begin, count = self.payload.vector(at, size, size)
        return struct.unpack_from(f"<{count}{code}", self.payload.data, begin)

    def structs(self, field, layout, alignment):
        at = self.follow(field)
        if at is None:
            return []
        size = struct.calcsize(layout)
        begin, count = self.payload.vector(at, size, alignment)
        return list(struct.iter_unpack(layout, self.payload.data[begin : begin + count * size]))

    def tables(self, field):
        at = self.follow(field)
        if at is None:
            return
        begin, count = self.payload.vector(at, 4, 4)
        self.payload.budget += 4 * count  # the elements' own cost covers their offsets
        for i in range(count):
            yield Table(self.payload, self.payload.offset(begin + 4 * i))


# ---- names, keys and values ----------------------------------------------------------------------


def utf8(data, what):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        damaged(f"{what} is not UTF-8")


def recoverable_name(data):
    name = utf8(data, "a name")
    check(1 <= len(data) <= 255, "a name is empty or too long")
    controls = [c for c in name if ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F]
    check("/" not in name and not controls, f"the name {name!r} holds a '/' or a control character")
    return name


def checkpoint_name(data):
    name = recoverable_name(data)
    check(name != "latest" and not name.startswith(("best:", "id:", "name:")), f"the name {name!r}")
    return name


def key(data):
    check(len(data) <= 65535, "a key is too long")
    return utf8(data, "a key")


MAX_DEPTH = 16
MAX_META_WEIGHT = 1048576
KINDS = {1: "bool", 2: "int", 3: "double", 4: "string", 5: "bytes", 6: "list", 7: "map"}


class Value:
    """A typed value; `json()` keeps the kind, so that 1, 1.0, true and "1" differ."""

    def __init__(self, kind, value, weight):
        self.kind, self.value, self.weight = kind, value, weight

    def json(self):
        if self.kind == "double":  # its bits: NaN payloads are kept
            return {"double": struct.pack(">d", self.value).hex()}
        if self.kind == "bytes":
            return {"bytes": base64.b64encode(self.value).decode()}
        if self.kind == "list":
            return {"list": [item.json() for item in self.value]}
        if self.kind == "map":
            return {"map": {k: v.json() for k, v in self.value.items()}}
        return {self.kind: self.value}


def unused(table, kind):
    """No field of another kind is set."""
    used = {"bool": (1,), "int": (1,), "double": (2,), "string": (3,), "bytes": (3,), "list": (4,),
            "map": (4, 5, 6)}[kind]
    for field, code in ((1, "q"), (2, "Q")):
        check(field in used or table.number(field, code) == 0, "a value has a field of another kind")
    for field in (3, 4, 5, 6):
        check(field in used or table.place(field, 4) is None, "a value has a field of another kind")


def decode_value(table, depth_left):
    number = table.number(0, "B")
    check(number in KINDS, f"a value has the unknown kind {number}")
    kind = KINDS[number]
    unused(table, kind)
    if kind == "bool":
        integer = table.number(1, "q")
        check(integer in (0, 1), f"a bool is {integer}")
        return Value(kind, integer == 1, 48)
    if kind == "int":
        return Value(kind, table.number(1, "q"), 48)
    if kind == "double":
        return Value(kind, table.number(2, "d"), 48)
    if kind in ("string", "bytes"):
        data = table.bytes(3)
        return Value(kind, utf8(data, "a string") if kind == "string" else data, 48 + len(data))
    check(depth_left > 0, "values nest deeper than 16")
    if kind == "list":
        items = [decode_value(item, depth_left - 1) for item in table.tables(4)]
        return Value(kind, items, 48 + sum(8 + item.weight for item in items))
    return decode_map(table, depth_left - 1)


def decode_map(table, depth_left):
    check(KINDS.get(table.number(0, "B")) == "map", "values that are no map")
    unused(table, "map")
    items = list(table.tables(4))
    lengths = table.numbers(6, "I")
    data = table.bytes(5)
    check(len(lengths) == len(items), "a map has more values than keys, or fewer")
    check(sum(lengths) == len(data), "the keys of a map do not fill their bytes")
    keys, at = [], 0
    for length in lengths:
        keys.append(data[at : at + length])
        at += length
    ascending(keys, "the keys of a map")
    values = {key(k): decode_value(item, depth_left) for k, item in zip(keys, items)}
    weight = 48 + sum(8 + len(k) for k in keys) + sum(v.weight for v in values.values())
    return Value("map", values, weight)


def decode_values(table):
    return Value("map", {}, 48) if table is None else decode_map(table, MAX_DEPTH)


# ---- index and root ------------------------------------------------------------------------------


class Chunk:
    def __init__(self, fields):
        (self.digest, self.offset, self.plain_bytes, self.stored_bytes, self.encoding, reserved,
         flags) = self.fields = fields
        check(self.encoding in (RAW, GROUPED), f"a chunk has the encoding {self.encoding}",
              self.offset)
        check(reserved == bytes(3) and flags == 0, "a reserved byte or flag of a chunk is not zero")
        check(1 <= self.plain_bytes <= MAX_CHUNK_BYTES, "a chunk's length is out of range")
        if self.encoding == RAW:
            check(self.stored_bytes == self.plain_bytes, "a chunk's lengths differ", self.offset)
        else:
            check(0 < self.stored_bytes < self.plain_bytes, "a compressed chunk is none", self.offset)


class Tensor:
    def __init__(self, name, dtype, shape, first_chunk, offset_in_chunk):
        self.key, self.shape = name, shape
        self.first_chunk, self.offset_in_chunk = first_chunk, offset_in_chunk
        check(dtype in DTYPES, f"tensor {name!r} has the unknown dtype {dtype}")
        self.dtype, bits = DTYPES[dtype]
        check(all(d >= 0 for d in shape), f"tensor {name!r} has a negative dimension")
        product = 1
        for dimension in shape:
            product *= dimension or 1
        check(product * (bits if bits % 8 else bits // 8) < 2**63, f"tensor {name!r} is too long")
        total = 0 if 0 in shape else product * bits
        check(total % 8 == 0, f"tensor {name!r} does not fill whole bytes")
        self.bytes = total // 8


class Recoverable:
    def __init__(self, table):
        self.name_bytes = table.text(0)
        self.name = recoverable_name(self.name_bytes)
        entries = table.structs(1, "<HBBIII", 4)
        keys, dims = table.bytes(2), table.numbers(3, "q")
        self.values = decode_values(table.table(4))
        self.key_bytes = len(keys)
        self.tensors, names, key_at, dim_at = [], [], 0, 0
        for key_bytes, dtype, rank, reserved, first_chunk, offset_in_chunk in entries:
            check(reserved == 0, "a reserved byte of a tensor is not zero")
            check(rank <= 64, f"a tensor has {rank} dimensions")
            check(key_at + key_bytes <= len(keys) and dim_at + rank <= len(dims),
                  "a tensor runs beyond the keys or dimensions")
            names.append(keys[key_at : key_at + key_bytes])
            self.tensors.append(Tensor(key(names[-1]), dtype, list(dims[dim_at : dim_at + rank]),
                                       first_chunk, offset_in_chunk))
            key_at += key_bytes
            dim_at += rank
        check(key_at == len(keys) and dim_at == len(dims), "keys or dimensions of no tensor")
        ascending(names, "the keys of tensors")


class Index:
    def __init__(self, data, end):
        table = Payload(data, b"CNIX").root()
        self.id, self.sequence = table.number(0, "Q"), table.number(1, "Q")
        check(self.id > 0 and self.sequence > 0, "an index has the id or sequence 0")
        self.name = checkpoint_name(table.text(2))
        self.created_unix_ns = table.number(3, "q")
        self.meta = decode_values(table.table(4))
        check(self.meta.weight <= MAX_META_WEIGHT, "the metadata weighs too much")
        self.recoverables = [Recoverable(each) for each in table.tables(5)]
        ascending([r.name_bytes for r in self.recoverables], "the names of recoverables")
        self.chunks = [Chunk(fields) for fields in table.structs(6, "<16sQQQB3sI", 8)]
        check(len(self.recoverables) <= 65536, "too many recoverables")
        check(sum(len(r.tensors) for r in self.recoverables) <= 16777216, "too many tensors")
        check(sum(r.key_bytes for r in self.recoverables) <= 536870912, "too many bytes of keys")
        self.check_chunks(min(end, MAX_PACK_BYTES))
        self.check_tensors()

    def check_chunks(self, end):
        places, contents = {}, {}
        for chunk in self.chunks:
            check(chunk.offset % ALIGNMENT == 0 and chunk.offset >= DATA_BEGIN, "a chunk's offset",
                  chunk.offset)
            check(chunk.offset + chunk.stored_bytes <= end, "a chunk runs beyond the end of data",
                  chunk.offset)
            known = places.setdefault(chunk.offset, chunk)
            check(known.fields == chunk.fields, "different chunks at one offset", chunk.offset)
            place = contents.setdefault((chunk.digest, chunk.plain_bytes), chunk.offset)
            check(place == chunk.offset, "one chunk at two offsets", chunk.offset)
        last_end = 0
        for offset in sorted(places):
            check(offset >= last_end, "chunks overlap", offset)
            last_end = offset + places[offset].stored_bytes

    def check_tensors(self):
        ends = [0, *itertools.accumulate(chunk.plain_bytes for chunk in self.chunks)]
        used = [0] * (len(self.chunks) + 1)
        touches, tensors = 0, 0
        for recoverable in self.recoverables:
            tensors += len(recoverable.tensors)
            for tensor in recoverable.tensors:
                if tensor.bytes == 0:
                    check(tensor.first_chunk == 0 and tensor.offset_in_chunk == 0,
                          "an empty tensor refers to a chunk")
                    continue
                last = self.last_chunk(tensor, ends)
                used[tensor.first_chunk] += 1
                used[last + 1] -= 1
                touches += last + 1 - tensor.first_chunk
        check(touches <= max(16777216, 16 * (tensors + len(self.chunks))), "chunks shared too often")
        users = 0
        for i in range(len(self.chunks)):
            users += used[i]
            check(users > 0, f"chunk {i} belongs to no tensor")

    def last_chunk(self, tensor, ends):
        """`ends` are those of the chunks' plain bytes, counted from 0 through all of them."""
        first = tensor.first_chunk
        check(first < len(self.chunks), f"tensor {tensor.key!r} refers to no chunk")
        check(tensor.offset_in_chunk < self.chunks[first].plain_bytes,
              f"tensor {tensor.key!r} begins behind its first chunk")
        end = ends[first] + tensor.offset_in_chunk + tensor.bytes
        check(end <= ends[-1], f"tensor {tensor.key!r} runs beyond the last chunk")
        return bisect.bisect_left(ends, end) - 1


class RootEntry:
    def __init__(self, fields, name):
        (self.id, self.sequence, self.index_offset, self.index_bytes, self.index_digest, _, flags,
         reserved) = fields
        check(flags & ~3 == 0 and reserved == 0, "a reserved flag or byte of a root is not zero")
        self.pinned, self.known_damaged = bool(flags & 1), bool(flags & 2)
        self.name = checkpoint_name(name)


class Root:
    def __init__(self, data, end):
        table = Payload(data, b"CNRT").root()
        self.sequence, self.parent_sequence = table.number(0, "Q"), table.number(1, "Q")
        self.parent_digest = table.struct(2, 16)
        self.next_id = table.number(3, "Q")
        check(self.sequence > 0 and self.parent_sequence < self.sequence, "a root's sequences")
        check(self.parent_digest is not None, "a root has no digest of its parent")
        check(self.parent_sequence > 0 or self.parent_digest == bytes(16), "a digest of no parent")
        fields = table.structs(4, "<QQQQ16sHHI", 8)
        names, at = table.bytes(5), 0
        self.entries = []
        for each in fields:
            check(at + each[5] <= len(names), "a name runs beyond the names")
            self.entries.append(RootEntry(each, names[at : at + each[5]]))
            at += each[5]
        check(at == len(names), "names of no checkpoint")
        self.check(min(end, MAX_PACK_BYTES))

    def check(self, end):
        ids = [0] + [e.id for e in self.entries] + [self.next_id]
        ascending(ids, "the ids of a root")
        check(len({e.name for e in self.entries}) == len(self.entries), "a name stands twice")
        last_end = DATA_BEGIN
        for entry in sorted(self.entries, key=lambda e: e.index_offset):
            check(1 <= entry.sequence <= self.sequence, "a checkpoint's sequence")
            check(RECORD_HEADER_BYTES < entry.index_bytes <= RECORD_HEADER_BYTES + MAX_PAYLOAD_BYTES,
                  "the length of an index")
            check(entry.index_offset % ALIGNMENT == 0 and entry.index_offset >= last_end,
                  "the place of an index", entry.index_offset)
            last_end = entry.index_offset + entry.index_bytes
            check(last_end <= end, "an index runs beyond the end of data", entry.index_offset)


# ---- the pack ------------------------------------------------------------------------------------


class Slot:
    """One that decodes; PackError otherwise."""

    def __init__(self, data, uuid, number):
        check(len(data) == 512 and data[:8] == b"\x89CNSLOT\n", "no slot")
        check(digest_of(data[:496]) == data[496:], "a slot does not match its digest")
        version, own_number = struct.unpack_from("<II", data, 8)
        check(version == VERSION and data[16:32] == uuid and own_number == number, "a foreign slot")
        (self.sequence, self.parent_sequence, self.parent_digest, first, second, root_bytes,
         self.data_end, self.root_digest) = struct.unpack_from("<QQ16sQQQQ16s", data, 32)
        check(data[112:496] == bytes(384), "a reserved byte of a slot is not zero")
        check(self.sequence > self.parent_sequence, "a slot's sequences")
        check(self.parent_sequence > 0 or self.parent_digest == bytes(16), "a digest of no parent")
        check(self.data_end % ALIGNMENT == 0 and self.data_end <= MAX_PACK_BYTES, "end of data")
        check(RECORD_HEADER_BYTES < root_bytes <= RECORD_HEADER_BYTES + MAX_PAYLOAD_BYTES, "length")
        for offset in (first, second):
            check(offset % ALIGNMENT == 0 and offset >= DATA_BEGIN, "a root's place")
            check(offset + root_bytes <= self.data_end, "a root runs beyond the end of data")
        check(abs(first - second) >= root_bytes, "the copies of a root overlap")
        self.copies = [(first, root_bytes), (second, root_bytes)]


class Candidate:
    """A root that may be the newest, or why it cannot be read."""

    def __init__(self, sequence, parent_sequence, parent_digest, digest, end, root=None):
        self.sequence, self.digest, self.end, self.root = sequence, digest, end, root
        self.parent_sequence, self.parent_digest = parent_sequence, parent_digest
        self.error = None


class Checkpoint:
    def __init__(self, pack, index, entry=None):
        self.pack, self.index = pack, index
        self.id, self.sequence = index.id, index.sequence
        self.name = entry.name if entry else index.name
        self.pinned = entry.pinned if entry else False

    def tensors(self):
        for recoverable in self.index.recoverables:
            for tensor in recoverable.tensors:
                yield f"{recoverable.name}/{tensor.key}", tensor

    def pieces(self, tensor):
        """The tensor's bytes, a verified piece at a time."""
        left, at, number = tensor.bytes, tensor.offset_in_chunk, tensor.first_chunk
        while left > 0:
            plain = self.pack.read_chunk(self.index.chunks[number])
            piece = plain[at : at + left]
            yield piece
            left -= len(piece)
            at, number = 0, number + 1

    def verify(self):
        for chunk in self.index.chunks:
            self.pack.read_chunk(chunk)

    def json(self):
        return {
            "id": self.id, "name": self.name, "sequence": self.sequence,
            "created_unix_ns": self.index.created_unix_ns, "pinned": self.pinned,
            "meta": self.index.meta.json()["map"],
            "recoverables": [
                {"name": r.name, "values": r.values.json()["map"],
                 "tensors": [{"key": t.key, "dtype": t.dtype, "shape": t.shape, "bytes": t.bytes}
                             for t in r.tensors]}
                for r in self.index.recoverables]}


class Pack:
    def __init__(self, path, note=lambda text: None, rescue=False):
        self.file = open(path, "rb")
        self.file_bytes = os.fstat(self.file.fileno()).st_size
        self.note = note
        try:
            self.uuid = self.read_superblock()
        except PackError as error:
            if not rescue or error.code == "unsupported_version":
                raise
            self.uuid = self.uuid_of_parts()
            if self.uuid is None:
                raise
            note(f"neither superblock is good ({error}), so the store's identity is that of its slots "
                 "and records")

    def read(self, offset, count):
        self.file.seek(offset)
        return self.file.read(count)

    def read_superblock(self):
        first_error = None
        for offset in (0, 65536):
            try:
                return self.check_superblock(self.read(offset, 4096))
            except PackError as error:
                if error.code == "unsupported_version":
                    raise
                first_error = first_error or error
        raise first_error

    @staticmethod
    def check_superblock(data):
        magic = b"\x89CAIRN\r\n\x1a\n".ljust(16, b"\0")
        check(magic.startswith(data[:16]), "not a pack: the superblock's magic is wrong")
        if len(data) < 4096:
            raise PackError("truncated", "the superblock is cut short")
        check(digest_of(data[:4080]) == data[4080:], "the superblock does not match its digest")
        (version, hash_number, compat, ro_compat, incompat, uuid, alignment, reserved,
         chunk_bytes) = struct.unpack_from("<IIQQQ16sIIQ", data, 16)
        check(version > 0, "version 0")
        if version > VERSION or incompat & ~COMPRESSED or hash_number != 1:
            raise PackError("unsupported_version", "the pack needs a newer reader")
        if incompat & COMPRESSED:
            require_zstandard()
        check(alignment == ALIGNMENT, "the alignment")
        check(65536 <= chunk_bytes <= MAX_CHUNK_BYTES and chunk_bytes % 4096 == 0, "the chunk size")
        if compat == 0 and ro_compat == 0:
            check(reserved == 0 and data[80:4080] == bytes(4000), "a reserved byte is not zero")
        return uuid

    def uuid_of_parts(self):
        """The UUID that most slots carry, or, without a slot, most records; None without either."""
        votes = {}
        for number in range(4):
            data = self.read(8192 * (number + 1), 512)
            try:
                Slot(data, data[16:32], number)
            except PackError:
                continue
            votes[data[16:32]] = votes.get(data[16:32], 0) + 1
        if not votes:
            for offset in self.record_offsets():
                uuid = self.read(offset + 16, 16)
                try:
                    self.record_header(offset, uuid)
                except PackError:
                    continue
                votes[uuid] = votes.get(uuid, 0) + 1
        return min(votes, key=lambda uuid: (-votes[uuid], uuid), default=None)

    def slots(self):
        """Those that decode, newest first."""
        found = []
        for number in range(4):
            data = self.read(8192 * (number + 1), 512)
            if data == bytes(512):
                continue
            try:
                found.append(Slot(data, self.uuid, number))
            except PackError as error:
                self.note(f"slot {number} is absent: {error}")
        return sorted(found, key=lambda slot: -slot.sequence)

    def record_header(self, offset, store=None):
        """Type, sequence, length and digest of the payload of a record of this store."""
        data = self.read(offset, RECORD_HEADER_BYTES)
        if len(data) < RECORD_HEADER_BYTES:
            raise PackError("truncated", "a record's header is cut short", offset)
        check(data[:8] == b"\x89CNREC\r\n", "a record's magic is wrong", offset)
        check(digest_of(data[:112]) == data[112:], "a record's header does not match", offset)
        (version, kind, uuid, own_offset, sequence, payload_bytes, payload_digest,
         reserved) = struct.unpack_from("<II16sQQQ16s40s", data, 8)
        if version > VERSION:
            raise PackError("unsupported_version", f"record version {version}", offset)
        check(version > 0 and uuid == (store or self.uuid) and own_offset == offset,
              "a foreign record", offset)
        check(kind in (INDEX, ROOT) and sequence > 0, "a record's type or sequence", offset)
        check(1 <= payload_bytes <= MAX_PAYLOAD_BYTES, "a payload's length", offset)
        check(reserved == bytes(40), "a reserved byte of a record is not zero", offset)
        return kind, sequence, payload_bytes, payload_digest

    def record(self, offset, count, kind, digest):
        """The payload of a record that is `count` bytes long."""
        found_kind, _, payload_bytes, payload_digest = self.record_header(offset)
        check(found_kind == kind, "a record of another type", offset)
        if offset + RECORD_HEADER_BYTES + payload_bytes > self.file_bytes:
            raise PackError("truncated", "a record's payload is cut short", offset)
        check(RECORD_HEADER_BYTES + payload_bytes == count, "a record of another length", offset)
        payload = self.read(offset + RECORD_HEADER_BYTES, payload_bytes)
        check(digest_of(payload) == payload_digest == digest, "a payload does not match", offset)
        return payload

    def check_sequence(self, offset, sequence):
        check(self.record_header(offset)[1] == sequence, "header and payload tell of different commits",
              offset)

    def read_chunk(self, chunk):
        data = self.read(chunk.offset, chunk.stored_bytes)
        if len(data) < chunk.stored_bytes:
            raise PackError("truncated", "the pack ends inside a chunk", chunk.offset)
        if chunk.encoding == GROUPED:
            data = degroup(data, chunk.plain_bytes)
        check(digest_of(data) == chunk.digest, "a chunk does not match its digest", chunk.offset)
        return data

    def checkpoint(self, entry, end):
        payload = self.record(entry.index_offset, entry.index_bytes, INDEX, entry.index_digest)
        index = Index(payload, end)
        self.check_sequence(entry.index_offset, index.sequence)
        check(index.id == entry.id and index.sequence == entry.sequence,
              "an index of another checkpoint", entry.index_offset)
        return Checkpoint(self, index, entry)

    # ---- finding the newest root ----

    def root_of(self, slot):
        error = None
        for offset, count in slot.copies:
            try:
                root = Root(self.record(offset, count, ROOT, slot.root_digest), slot.data_end)
                self.check_sequence(offset, root.sequence)
                same = (root.sequence == slot.sequence
                        and root.parent_sequence == slot.parent_sequence
                        and root.parent_digest == slot.parent_digest)
                check(same, "slot and root contradict each other", offset)
                return root
            except PackError as problem:
                error = problem
        raise error

    def problem_of(self, root, end, parent):
        """Why what the root adds over its parent is not whole, or None."""
        known = {(e.id, e.index_digest) for e in parent.entries} if parent else set()
        for entry in root.entries:
            if (entry.id, entry.index_digest) in known:
                continue
            try:
                self.checkpoint(entry, end).verify()
            except PackError as error:
                return f"checkpoint {entry.name!r}: {error}"
        return None

    @staticmethod
    def is_whole(checkpoint):
        try:
            checkpoint.verify()
        except PackError:
            return False
        return True

    def candidates(self):
        """What may be the newest root, newest first; and whether slots told of it."""
        found = []
        for slot in self.slots():
            found.append(Candidate(slot.sequence, slot.parent_sequence, slot.parent_digest,
                                   slot.root_digest, slot.data_end))
            try:
                found[-1].root = self.root_of(slot)
            except PackError as error:
                found[-1].error = error
        if any(candidate.root for candidate in found):
            return found, True
        end, found = round_up(self.file_bytes), {}
        for offset, payload_bytes, payload_digest in self.scan(ROOT):
            try:
                payload = self.record(offset, RECORD_HEADER_BYTES + payload_bytes, ROOT,
                                      payload_digest)
                root = Root(payload, end)
                self.check_sequence(offset, root.sequence)
                found[payload_digest] = Candidate(root.sequence, root.parent_sequence,
                                                  root.parent_digest, payload_digest, end, root)
            except PackError:
                continue
        return sorted(found.values(), key=lambda c: (c.sequence, c.digest), reverse=True), False

    def record_offsets(self):
        """Where a record may stand."""
        for offset in range(DATA_BEGIN, self.file_bytes, ALIGNMENT):
            if self.read(offset, 8) == b"\x89CNREC\r\n":
                yield offset

    def scan(self, kind):
        for offset in self.record_offsets():
            try:
                found_kind, _, payload_bytes, payload_digest = self.record_header(offset)
            except PackError:
                continue  # a tensor's bytes, another store's, a damaged one
            if found_kind == kind:
                yield offset, payload_bytes, payload_digest

    def newest_root(self):
        """(root, end of data), or None."""
        candidates, from_slots = self.candidates()

        def parent_of(child):
            for other in candidates:
                if (other.sequence, other.digest) == (child.parent_sequence, child.parent_digest):
                    return other
            return None

        for candidate in candidates:
            # The newest stands on its parent, which was committed before; the others on nothing.
            parent = parent_of(candidate) if from_slots and candidate is candidates[0] else None
            problem = candidate.error or self.problem_of(candidate.root, candidate.end,
                                                         parent and parent.root)
            if problem is None:
                return candidate.root, candidate.end
            self.note(f"commit {candidate.sequence} was passed over: {problem}")
            if parent and parent.root:
                return parent.root, parent.end  # what is damaged there has rotted since
        for candidate in candidates:
            if candidate.root:
                self.note(f"commit {candidate.sequence} was taken although it is not whole")
                return candidate.root, candidate.end
        return None

    def checkpoints(self):
        """Those of the newest root that can be read, newest first; without a root, those that a scan
        finds, which may have been deleted."""
        found = self.newest_root()
        if found is None:
            self.note("no root can be read; these were found by a scan and may have been deleted")
            return self.scanned_checkpoints()
        root, end = found
        checkpoints = []
        for entry in root.entries:
            try:
                checkpoints.append(self.checkpoint(entry, end))
            except PackError as error:
                self.note(f"checkpoint {entry.name!r} (id {entry.id}) cannot be read: {error}")
        return sorted(checkpoints, key=lambda c: -c.id)

    def scanned_checkpoints(self):
        end, by_id = round_up(self.file_bytes), {}
        for offset, payload_bytes, payload_digest in self.scan(INDEX):
            try:
                index = Index(self.record(offset, RECORD_HEADER_BYTES + payload_bytes, INDEX,
                                          payload_digest), end)
                self.check_sequence(offset, index.sequence)
                known = by_id.get(index.id)
                if known and (known.sequence > index.sequence or
                              known.sequence == index.sequence and self.is_whole(known)):
                    continue
                by_id[index.id] = Checkpoint(self, index)
            except PackError:
                continue
        return [by_id[i] for i in sorted(by_id, reverse=True)]


# ---- the command line ----------------------------------------------------------------------------


def find(checkpoints, word):
    named = [c for c in checkpoints if c.name == word]
    numbered = [c for c in checkpoints if str(c.id) == word]
    return (named or numbered or [None])[0]


def main(words):
    counts = {"ls": (2,), "show": (3,), "extract": (4, 5)}
    if not words or len(words) not in counts.get(words[0], ()):
        print(__doc__, file=sys.stderr)
        return 2
    notes = []
    try:
        pack = Pack(words[1], notes.append, rescue=True)
        checkpoints = pack.checkpoints()
        for text in notes:
            print(f"note: {text}", file=sys.stderr)
        if words[0] == "ls":
            for each in checkpoints:
                tensors = [tensor for _, tensor in each.tensors()]
                print(f"{each.id}\t{each.name}\t{each.sequence}\t{len(tensors)} tensors\t"
                      f"{sum(t.bytes for t in tensors)} bytes{'	pinned' if each.pinned else ''}")
            return 0
        checkpoint = find(checkpoints, words[2])
        if checkpoint is None:
            print(f"cairn_reader: no checkpoint {words[2]!r}", file=sys.stderr)
            return 4
        if words[0] == "show":
            print(json.dumps(checkpoint.json(), ensure_ascii=False))
            return 0
        tensor = dict(checkpoint.tensors()).get(words[3])
        if tensor is None:
            print(f"cairn_reader: no tensor {words[3]!r}", file=sys.stderr)
            return 4
        out = open(words[4], "wb") if len(words) == 5 else sys.stdout.buffer
        with out:
            for piece in checkpoint.pieces(tensor):
                out.write(piece)
        return 0
    except PackError as error:
        print(f"cairn_reader: {words[1]}: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"cairn_reader: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
