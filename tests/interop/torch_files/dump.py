#!/usr/bin/env python3
"""Prints every tensor of a file of torch.save, by Python's own pickle and zipfile: no torch, and nothing of Cairn.

    dump.py FILE

A line for each: name, dtype, shape, bytes in row-major order. What it printed of state-2.13-zip.pt, and word for word of
the other three, is state.txt, which tests/interop/torch_file_test.cc compares every import with.
"""
import io
import itertools
import pickle
import struct
import sys
import zipfile

# The element type that a storage class stands for, and its bytes.
STORAGES = {
    "FloatStorage": ("f32", 4), "DoubleStorage": ("f64", 8), "HalfStorage": ("f16", 2), "BFloat16Storage": ("bf16", 2),
    "LongStorage": ("i64", 8), "CharStorage": ("i8", 1), "ByteStorage": ("u8", 1), "BoolStorage": ("bool", 1),
    "ComplexFloatStorage": ("c64", 8),
}


class Tensor:
    def __init__(self, storage, offset, shape, strides, *_):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def bytes(self, storages):
        (_, size), key = self.storage
        data = storages[key]
        places = (self.offset + sum(i * stride for i, stride in zip(at, self.strides))
                  for at in itertools.product(*map(range, self.shape)))
        return b"".join(data[place * size : (place + 1) * size] for place in places)


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if name in STORAGES:
            return STORAGES[name]
        known = {
            "_rebuild_tensor_v2": Tensor, "_rebuild_parameter": lambda tensor, *_: tensor, "OrderedDict": Dict,
            "Size": tuple, "encode": str.encode,
        }
        return known[name]

    def persistent_load(self, pid):
        _, kind, key, *_ = pid
        return kind, key


class Dict(dict):
    """An OrderedDict whose state (a state_dict's `_metadata`) is of no interest."""

    def __setstate__(self, state):
        pass


def of_zip(path):
    with zipfile.ZipFile(path) as archive:
        top = archive.namelist()[0].split("/")[0]
        state = Unpickler(io.BytesIO(archive.read(f"{top}/data.pkl"))).load()
        storages = {name.rsplit("/", 1)[1]: archive.read(name)
                    for name in archive.namelist() if name.startswith(f"{top}/data/")}
    return state, storages


def of_legacy(path):
    sizes = {}

    class Legacy(Unpickler):
        def persistent_load(self, pid):
            storage = super().persistent_load(pid)
            (_, size), key = storage
            sizes[key] = size
            return storage

    with open(path, "rb") as file:
        for _ in range(3):  # magic number, protocol, sizes of the machine's types
            pickle.load(file)
        state = Legacy(file).load()
        storages = {}
        for key in pickle.load(file):
            (elements,) = struct.unpack("<q", file.read(8))
            storages[key] = file.read(elements * sizes[key])
    return state, storages


def tensors(value, path=""):
    if isinstance(value, Tensor):
        yield path, value
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, item in pairs:
        yield from tensors(item, f"{path}.{key}" if path else str(key))


def main(path):
    state, storages = of_zip(path) if zipfile.is_zipfile(path) else of_legacy(path)
    for name, tensor in sorted(tensors(state)):
        (dtype, _), _ = tensor.storage
        shape = ",".join(map(str, tensor.shape))
        print(f"{name} {dtype} [{shape}] {tensor.bytes(storages).hex()}".rstrip())


main(sys.argv[1])
