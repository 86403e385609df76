"""Other checkpoint formats, timed on request: one process that answers a line for each line it reads.

    peers.py BYTES DIRECTORY          answers "ready NAME..." with the peers that could be imported
    save NAME | load NAME             answers the seconds it took
    forget NAME                       drops the peer's file from the page cache

A save ends when file and directory are flushed. A load ends when every byte has been read once: some
only map the file, and would otherwise be timed for nothing.
"""
import os
import shutil
import sys
import time
import unittest.mock

TENSOR_BYTES = 16 << 20


def flush(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def touch(tensors):
    import torch

    total = 0
    for tensor in tensors.values():
        total += int(tensor.view(torch.int64).sum())
    return total


class TorchPeer:
    def __init__(self):
        import torch

        self.torch = torch

    def save(self, state, path):
        self.torch.save(state, path)

    def load(self, path):
        return self.torch.load(path)


class SafetensorsPeer:
    def __init__(self):
        import torch  # noqa: F401
        from safetensors import torch as safetensors

        self.safetensors = safetensors

    def save(self, state, path):
        self.safetensors.save_file(state, path)

    def load(self, path):
        return self.safetensors.load_file(path)


class DcpPeer:
    """torch.distributed.checkpoint: a directory of files."""

    def __init__(self):
        import torch.distributed.checkpoint as dcp

        self.dcp = dcp

    def save(self, state, path):
        self.dcp.save(state, checkpoint_id=path, no_dist=True)

    def load(self, path):
        import torch

        state = empty_state(torch)
        self.dcp.load(state, checkpoint_id=path, no_dist=True)
        return state


class SpeechBrainPeer:
    """Its Checkpointer: a directory for each checkpoint, a file for each recoverable."""

    def __init__(self):
        import logging

        import torch

        logging.disable(logging.WARNING)
        try:
            import torchaudio  # noqa: F401
        except (ImportError, OSError):
            # Imported by the package, not used by its checkpointer; a build for CUDA, perhaps.
            sys.modules["torchaudio"] = unittest.mock.MagicMock(__version__="2.11.0")
        from speechbrain.utils.checkpoints import Checkpointer

        self.torch = torch
        self.checkpointer = Checkpointer

    def module(self, tensors):
        module = self.torch.nn.Module()
        for name, tensor in tensors.items():
            module.register_parameter(name, self.torch.nn.Parameter(tensor, requires_grad=False))
        return module

    def save(self, state, path):
        self.checkpointer(path, {"model": self.module(state)}).save_checkpoint()

    def load(self, path):
        module = self.module(empty_state(self.torch))
        self.checkpointer(path, {"model": module}).recover_if_possible()
        return {name: parameter.data for name, parameter in module.named_parameters()}


class TensorStorePeer:
    """A Zarr array for each tensor."""

    def __init__(self):
        import tensorstore
        import torch

        self.tensorstore = tensorstore
        self.torch = torch

    def open(self, path, name, **options):
        return self.tensorstore.open(
            {"driver": "zarr3",
             "kvstore": {"driver": "file", "path": os.path.join(path, name) + "/"}}, **options)

    def save(self, state, path):
        writes = []
        for name, tensor in state.items():
            array = self.open(path, name, create=True, dtype=self.tensorstore.float32,
                              shape=list(tensor.shape)).result()
            writes.append(array.write(tensor.numpy()))
        for write in writes:
            write.result()

    def load(self, path):
        arrays = {name: self.open(path, name).result() for name in sorted(os.listdir(path))}
        reads = {name: array.read() for name, array in arrays.items()}
        return {name: self.torch.from_numpy(read.result()) for name, read in reads.items()}


class OrbaxPeer:
    """Orbax's StandardCheckpointer, of NumPy arrays."""

    def __init__(self):
        import logging

        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        import orbax.checkpoint
        import torch

        logging.disable(logging.WARNING)
        self.checkpointer = orbax.checkpoint.StandardCheckpointer()
        self.torch = torch

    def save(self, state, path):
        self.checkpointer.save(path, {name: tensor.numpy() for name, tensor in state.items()})
        self.checkpointer.wait_until_finished()

    def load(self, path):
        target = {name: tensor.numpy() for name, tensor in empty_state(self.torch).items()}
        loaded = self.checkpointer.restore(path, target)
        return {name: self.torch.from_numpy(array) for name, array in loaded.items()}


PEERS = {
    "torch.save": TorchPeer,
    "safetensors": SafetensorsPeer,
    "torch.distributed.checkpoint": DcpPeer,
    "speechbrain": SpeechBrainPeer,
    "tensorstore": TensorStorePeer,
    "orbax": OrbaxPeer,
}


def empty_state(torch):
    return {f"t{i}": torch.empty(TENSOR_BYTES // 4) for i in range(count)}


def directories_of(path):
    return [directory for directory, _, _ in os.walk(path)]


def files_of(path):
    if os.path.isdir(path):
        return [os.path.join(directory, name)
                for directory, _, names in os.walk(path) for name in names]
    return [path]


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.unlink(path)


def main():
    global count
    total, directory = int(sys.argv[1]), sys.argv[2]
    count = max(1, total // TENSOR_BYTES)
    peers = {}
    for name, kind in PEERS.items():
        try:
            peers[name] = kind()
        except (ImportError, OSError) as error:
            print(f"peers.py: without {name}: {error}", file=sys.stderr)
    if peers:
        import warnings

        import torch

        warnings.filterwarnings("ignore")
        # As long as the state that Cairn saves, whatever the size of the last tensor.
        state = {f"t{i}": torch.rand(TENSOR_BYTES // 4) for i in range(count)}
    print("ready " + ",".join(peers), flush=True)
    round_number = 0
    for line in sys.stdin:
        verb, name = line.split()
        path = os.path.join(directory, "peer-" + name)
        began = time.perf_counter()
        if verb == "save":
            # Other bytes each time, under a name of their own; the old file goes afterwards.
            for tensor in state.values():
                tensor[0] = round_number
            round_number += 1
            began = time.perf_counter()
            peers[name].save(state, path + ".new")
            for file in files_of(path + ".new") + directories_of(path + ".new"):
                flush(file)
            if os.path.isdir(path):
                os.rename(path, path + ".old")
            os.rename(path + ".new", path)
            flush(directory)
            took = time.perf_counter() - began
            remove(path + ".old")
        elif verb == "load":
            loaded = peers[name].load(path)
            touch(loaded)
            took = time.perf_counter() - began
            del loaded
        elif verb == "forget":
            for file in files_of(path):
                descriptor = os.open(file, os.O_RDONLY)
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)
            took = time.perf_counter() - began
        else:
            sys.exit(f"peers.py: no such verb: {verb}")
        print(took, flush=True)


main()
