"""Other checkpoint formats, timed on request: one process that answers a line for each line it reads.

    peers.py BYTES DIRECTORY          answers "ready NAME..." with the peers that could be imported
    save NAME | load NAME             answers the seconds it took
    forget NAME                       drops the peer's file from the page cache

A save ends when file and directory are flushed. A load ends when every byte has been read once: some
only map the file, and would otherwise be timed for nothing.
"""
import os
import sys
import time

TENSOR_BYTES = 16 << 20


def flush(path):
    for what in (path, os.path.dirname(path)):
        descriptor = os.open(what, os.O_RDONLY)
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

        state = {f"t{i}": torch.empty(TENSOR_BYTES // 4) for i in range(count)}
        self.dcp.load(state, checkpoint_id=path, no_dist=True)
        return state


def files_of(path):
    if os.path.isdir(path):
        return [os.path.join(path, name) for name in os.listdir(path)]
    return [path]


def remove(path):
    if os.path.isdir(path):
        for name in files_of(path):
            os.unlink(name)
        os.rmdir(path)
    elif os.path.exists(path):
        os.unlink(path)


def main():
    global count
    total, directory = int(sys.argv[1]), sys.argv[2]
    count = max(1, total // TENSOR_BYTES)
    peers = {}
    for name, kind in (("torch.save", TorchPeer), ("safetensors", SafetensorsPeer),
                       ("torch.distributed.checkpoint", DcpPeer)):
        try:
            peers[name] = kind()
        except ImportError as error:
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
            for file in files_of(path + ".new"):
                flush(file)
            if not os.path.isdir(path):
                os.rename(path + ".new", path)
            else:
                os.rename(path, path + ".old")
                os.rename(path + ".new", path)
            flush(path)
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
