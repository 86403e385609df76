"""What a crash leaves of other ways to save: the same crash states as Cairn's, judged by loading.

    crash_peers.py --explorer BUILD/bin/tests/explore_log --tool BUILD/bin/cairn [--seed N] [NAME...]

Each peer saves a small model three times, under strace. From what strace saw this makes the event log
that tests/crash/event_log.h describes; explore_log lays out the states that a crash may leave by it;
and each is judged by doing what a job does when it starts again:

    right     the last save that had returned, or the one in flight (or nothing, before any returned)
    older     an older save, whole
    gone      nothing is found, as if nothing had ever been saved
    fails     an error: the job does not start
    wrong     loads without an error, and holds numbers that were never saved together

Names follow two rules. By the strict one only a directory's flush makes a name durable. By ext4's they
come in their order, and besides, as ext4 does unless it is told not to (auto_da_alloc, ext4(5)), a file
that is renamed over another, or that was emptied and closed, is flushed then: that is put into the log
in the peers' favour. Contents are the same by both: each unflushed sector is there or not.

Cairn is run in the same way, by its tool. Needs strace, and Python's torch.
"""
import argparse
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

SAVES = 3
NOTE = "/cairn-note/"


def state(number):
    """The model and its optimizer after so many steps: some 27 KB."""
    import torch

    generator = torch.Generator().manual_seed(number)
    shapes = {"weight": (48, 64), "bias": (48,), "exp_avg": (48, 64)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def number_of(tensors):
    """Which save these tensors are of; "wrong" if of none."""
    import torch

    for number in range(1, SAVES + 1):
        expected = state(number)
        if expected.keys() == tensors.keys() and all(
                torch.equal(expected[name], tensors[name]) for name in expected):
            return number
    return "wrong"


# ---- the peers: save(number, directory), and load(directory), the number of what a job starts from ----

def flush(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def load_file(path):
    import torch

    return number_of(torch.load(path)) if os.path.exists(path) else 0


class OverTheFile:
    """torch.save to the same name each time."""

    def __init__(self, flushes):
        self.flushes = flushes

    def save(self, number, directory):
        import torch

        path = os.path.join(directory, "model.pt")
        torch.save(state(number), path)
        if self.flushes:
            flush(path)

    def load(self, directory):
        return load_file(os.path.join(directory, "model.pt"))


class Renamed:
    """torch.save beside the file, then renamed over it."""

    def __init__(self, flushes_file, flushes_directory):
        self.flushes_file, self.flushes_directory = flushes_file, flushes_directory

    def save(self, number, directory):
        import torch

        path = os.path.join(directory, "model.pt")
        torch.save(state(number), path + ".tmp")
        if self.flushes_file:
            flush(path + ".tmp")
        os.replace(path + ".tmp", path)
        if self.flushes_directory:
            flush(directory)

    def load(self, directory):
        return load_file(os.path.join(directory, "model.pt"))


class DirectoryEach:
    """A directory for each checkpoint, with a metadata file, the two newest kept.

    The order of SpeechBrain's Checkpointer.save_and_keep_only (speechbrain/utils/checkpoints.py): the
    directory, CKPT.yaml with the time, one file a recoverable, then older directories are removed.
    Recovery takes the newest directory that has a CKPT.yaml.
    """

    PARTS = {"mdl": ("weight", "bias"), "opt": ("exp_avg",)}

    def __init__(self, flushes):
        self.flushes = flushes

    def save(self, number, directory):
        import torch

        path = os.path.join(directory, f"CKPT+{number}")
        os.makedirs(path)
        files = [os.path.join(path, "CKPT.yaml")]
        with open(files[0], "w") as file:
            file.write(f"# yamllint disable\nend-of-epoch: true\nunixtime: {number}.0\n")
        now = state(number)
        for part, names in self.PARTS.items():
            files.append(os.path.join(path, part + ".ckpt"))
            torch.save({name: now[name] for name in names}, files[-1])
        if self.flushes:
            for what in (*files, path, directory):
                flush(what)
        for old in sorted(self.found(directory), key=self.time_of)[:-2]:
            shutil.rmtree(old)

    @staticmethod
    def found(directory):
        paths = [os.path.join(directory, name) for name in os.listdir(directory) if name.startswith("CKPT")]
        return [path for path in paths if os.path.exists(os.path.join(path, "CKPT.yaml"))]

    @staticmethod
    def time_of(path):
        with open(os.path.join(path, "CKPT.yaml")) as file:
            return float(re.search(r"^unixtime: (\S+)$", file.read(), re.MULTILINE).group(1))

    def load(self, directory):
        import torch

        found = self.found(directory)
        if not found:
            return 0
        newest = max(found, key=self.time_of)
        tensors = {}
        for part in self.PARTS:
            tensors.update(torch.load(os.path.join(newest, part + ".ckpt")))
        return number_of(tensors)


def to_safetensors(tensors):
    """Source: the format's description, https://github.com/huggingface/safetensors"""
    header, data = {}, b""
    for name, tensor in tensors.items():
        raw = struct.pack(f"<{tensor.numel()}f", *tensor.flatten().tolist())
        header[name] = {"dtype": "F32", "shape": list(tensor.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


class Cairn:
    """`cairn import --keep 2`; a job that starts again opens the store, saves, and loads."""

    def __init__(self, tool):
        self.tool = tool
        self.files = tempfile.mkdtemp(prefix="cairn-peers-")
        self.expected = {}
        for number in range(1, SAVES + 1):
            self.write(number)

    def write(self, number):
        bytes_ = to_safetensors(state(number))
        with open(os.path.join(self.files, f"{number}.safetensors"), "wb") as file:
            file.write(bytes_)
        self.expected[number] = self.parts(bytes_)

    @staticmethod
    def parts(raw):
        (length,) = struct.unpack_from("<Q", raw)
        header = json.loads(raw[8:8 + length])
        return {name: (one["shape"], raw[8 + length:][slice(*one["data_offsets"])])
                for name, one in header.items() if name != "__metadata__"}

    def run(self, *words):
        return subprocess.run([self.tool, *words], check=True, capture_output=True).stdout

    def save(self, number, directory):
        self.run("import", os.path.join(directory, "store"), os.path.join(self.files, f"{number}.safetensors"),
                 "--name", str(number), "--keep", "2", "--quiet")

    def load(self, directory):
        store = os.path.join(directory, "store")
        self.run("import", store, os.path.join(self.files, "1.safetensors"), "--name", "next", "--quiet")
        names = [one["name"] for one in json.loads(self.run("ls", store, "--json"))]
        if names == ["next"]:
            return 0
        out = os.path.join(self.files, "out.safetensors")
        self.run("export", store, names[1], out, "--quiet")
        with open(out, "rb") as file:
            got = self.parts(file.read())
        return int(names[1]) if got == self.expected[int(names[1])] else "wrong"


def peers(tool):
    return {
        "torch.save over the file": OverTheFile(False),
        "the same, then fsync": OverTheFile(True),
        "torch.save, rename": Renamed(False, False),
        "torch.save, fsync, rename": Renamed(True, False),
        "torch.save, fsync, rename, fsync of the directory": Renamed(True, True),
        "a directory for each, metadata first": DirectoryEach(False),
        "the same, all flushed": DirectoryEach(True),
        "Cairn": Cairn(tool),
    }


# ---- recording ---------------------------------------------------------------------------------------

TRACED = ("access,open,openat,creat,close,write,pwrite64,writev,pwritev,pwritev2,lseek,ftruncate,truncate,"
          "fallocate,fsync,fdatasync,sync_file_range,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,"
          "mkdirat,link,linkat,symlink,symlinkat,mmap,copy_file_range,sendfile,splice,dup,dup2,dup3,"
          "io_uring_setup")


def record(name, options, top, trace):
    """Runs the workload of a peer in `top`, and leaves strace's output in `trace`."""
    subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", str(1 << 22), "-e", "signal=none",
         "-e", "trace=" + TRACED, "-o", trace,
         sys.executable, "-W", "ignore", __file__, *options, "--workload", top, name],
        check=True)


def workload(peer, top):
    state(1)  # torch is loaded now
    for number in range(1, SAVES + 1):
        os.access(f"{NOTE}begin {number}", os.F_OK)
        peer.save(number, top)
        os.access(f"{NOTE}done {number}", os.F_OK)


def unescape(text):
    return bytes.fromhex(text.replace("\\x", ""))


def strings(text):
    return [unescape(part) for part in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', text)]


class Converter:
    """Events (tests/crash/event_log.h) out of strace's lines. What it does not know how to tell is an error."""

    def __init__(self, top, rule):
        self.top, self.rule = top.encode(), rule
        self.nodes = {b"": 0}
        self.directories = {0}
        self.sizes = {}
        self.last = 0
        self.open = {}      # (descriptor, path) -> what `Converter.descriptor` returns
        self.emptied = set()  # nodes that were emptied, not closed since
        self.log = []
        self.cut = {}       # process -> the first half of a call that another interrupted

    def below(self, path):
        """The path below the directory, or nothing."""
        path = os.path.normpath(path)
        if path == self.top:
            return b""
        if not path.startswith(self.top + b"/") or path.endswith(b"-lock"):
            return None
        return path[len(self.top) + 1:]

    def place(self, path):
        directory, _, name = path.rpartition(b"/")
        return f"{self.nodes[directory]} {name.decode()}"

    def appears(self, kind, path):
        self.last += 1
        self.nodes[path] = self.last
        self.sizes[self.last] = 0
        self.log.append(f"{kind} {self.place(path)} {self.last}")

    def line(self, line):
        process, text = line.split(maxsplit=1)
        if text.startswith(("+++", "---")):
            return
        if text.endswith("<unfinished ...>"):
            self.cut[process] = text[:-len("<unfinished ...>")]
            return
        if text.startswith("<..."):
            text = self.cut.pop(process) + re.sub(r"^<\.\.\. \w+ resumed>", "", text)
        match = re.fullmatch(r"(\w+)\((.*)\)\s+= (-?\w+)(.*)", text)
        if match is None:
            raise ValueError("cannot read this line of strace: " + text[:200])
        call, words, result, rest = match.groups()
        if call == "access":
            self.note(words)
        elif not result.startswith("-"):
            # What a file is called is written behind a descriptor: 3<\x2f...>
            files = [(int(number) if number.isdigit() else -1, unescape(path))
                     for number, path in re.findall(r"(\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)>", words)]
            getattr(self, "on_" + call, self.on_other)(words, files, int(result, 0), rest)

    def note(self, words):
        path = strings(words)[0].decode()
        if path.startswith(NOTE):
            self.log.append("note " + path[len(NOTE):])

    def on_other(self, words, files, result, rest):
        paths = [path for _, path in files] + strings(words.split(", {")[0] if "iov" in words else words)
        if any(self.below(path) is not None for path in paths):
            raise ValueError("a call that cannot be told as events: " + words[:200])

    def path_of(self, files, words, position=0):
        path = strings(words)[position]
        at = files[position][1] if len(files) > position and files else b"/"
        return self.below(path if path.startswith(b"/") else os.path.join(at, path))

    def on_openat(self, words, files, result, rest):
        path = self.below(os.path.join(files[0][1] if files else b"/", strings(words)[0]))
        if path is None:
            return
        flags = words.rsplit('"', 1)[1]
        if path not in self.nodes:
            if "O_CREAT" not in flags:
                raise ValueError(f"a file appeared unseen: {path}")
            self.appears("create", path)
        node = self.nodes[path]
        if "O_TRUNC" in flags and self.sizes[node] > 0:
            self.log.append(f"truncate {node} 0")
            self.sizes[node] = 0
            self.emptied.add(node)
        self.open[result] = {"node": node, "at": 0, "synchronous": "O_DSYNC" in flags or "O_SYNC" in flags}
        if "O_APPEND" in flags:
            raise ValueError("appending is not told as events")

    def on_open(self, words, files, result, rest):
        self.on_openat(words, files, result, rest)

    def descriptor(self, files):
        """What is open there, if it is below the directory."""
        number, path = files[0]
        below = self.below(path.removesuffix(b" (deleted)"))
        return None if below is None else self.open[number]

    def on_close(self, words, files, result, rest):
        number, path = files[0]
        file = self.open.pop(number, None) if self.below(path.removesuffix(b" (deleted)")) is not None else None
        if file is None:
            return  # or a copy of a descriptor; to write through one is an error
        if self.rule == "ext4" and file["node"] in self.emptied:
            self.log.append(f"sync {file['node']}")
        self.emptied.discard(file["node"])

    def wrote(self, file, offset, data):
        node = file["node"]
        self.log.append(f"write {node} {offset} {data.hex()}")
        self.sizes[node] = max(self.sizes[node], offset + len(data))
        if file["synchronous"]:
            self.log.append(f"syncrange {node} {offset} {len(data)}")

    def write(self, words, files, result, offset=None):
        file = self.descriptor(files)
        if file is None or result == 0:
            return
        data = b"".join(strings(words))[:result]
        if len(data) != result:
            raise ValueError("strace cut a write short")
        self.wrote(file, file["at"] if offset is None else offset, data)
        if offset is None:
            file["at"] += result

    def on_write(self, words, files, result, rest):
        self.write(words, files, result)

    on_writev = on_write

    def on_pwrite64(self, words, files, result, rest):
        self.write(words, files, result, int(words.rsplit(", ", 1)[1]))

    on_pwritev = on_pwrite64

    def on_lseek(self, words, files, result, rest):
        if self.below(files[0][1]) is not None and files[0][0] in self.open:
            self.open[files[0][0]]["at"] = result

    def on_ftruncate(self, words, files, result, rest):
        file = self.descriptor(files)
        if file is not None:
            length = int(words.rsplit(", ", 1)[1])
            self.sizes[file["node"]] = length
            self.log.append(f"truncate {file['node']} {length}")

    def on_fallocate(self, words, files, result, rest):
        file = self.descriptor(files)
        mode, offset, length = words.split(", ")[1:]
        if file is None or mode == "FALLOC_FL_KEEP_SIZE":
            return  # space, but no contents
        if "FALLOC_FL_PUNCH_HOLE" not in mode:
            raise ValueError("fallocate: " + mode)
        self.log.append(f"punch {file['node']} {offset} {length}")

    def on_fsync(self, words, files, result, rest):
        file = self.descriptor(files)
        if file is not None:
            kind = "syncdir" if file["node"] in self.directories else "sync"
            self.log.append(f"{kind} {file['node']}")

    on_fdatasync = on_fsync

    def on_rename(self, words, files, result, rest):
        old, new = (self.below(path) for path in strings(words))
        if old is None and new is None:
            return
        if self.rule == "ext4" and new in self.nodes:
            self.log.append(f"sync {self.nodes[old]}")
        self.log.append(f"rename {self.place(old)} {self.place(new)}")
        self.nodes[new] = self.nodes.pop(old)

    def on_unlinkat(self, words, files, result, rest):
        path = self.below(os.path.join(files[0][1] if files else b"/", strings(words)[0]))
        if path is not None:
            self.log.append(f"unlink {self.place(path)}")
            del self.nodes[path]

    def on_unlink(self, words, files, result, rest):
        self.on_unlinkat(words, [], result, rest)

    on_rmdir = on_unlink

    def on_mkdir(self, words, files, result, rest):
        path = self.below(strings(words)[0])
        if path is not None:
            self.appears("mkdir", path)
            self.directories.add(self.last)

    def on_mmap(self, words, files, result, rest):
        shared = "MAP_SHARED" in words and "PROT_WRITE" in words
        if shared and files and self.below(files[0][1]) is not None:
            raise ValueError("a shared writable mapping: " + words[:200])


def convert(trace, top, rule):
    converter = Converter(top, rule)
    with open(trace) as lines:
        for line in lines:
            converter.line(line.rstrip("\n"))
    return "\n".join(["syncdir 0", *converter.log]) + "\n"


# ---- judging -----------------------------------------------------------------------------------------

VERDICTS = ("right", "older", "gone", "fails", "wrong")


def verdict(peer, directory, legal):
    try:
        found = peer.load(directory)
    except Exception:  # whatever it is: the job does not start
        return "fails"
    if found == "wrong" or found in legal:
        return "wrong" if found == "wrong" else "right"
    return "gone" if found == 0 else "older"


def judge(peer, explorer, log, rule, top, scratch, seed):
    """Verdicts of all states, by their number."""
    at = os.path.join(scratch, "state")
    counts = dict.fromkeys(VERDICTS, 0)
    with subprocess.Popen([explorer, log, rule, top, at, str(seed)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as states:
        for line in states.stdout:
            words = line.split()
            if words[0] == "events":
                continue
            counts[verdict(peer, at, [int(word) for word in words[1:]])] += 1
            states.stdin.write("judged\n")
            states.stdin.flush()
    if states.returncode != 0:
        raise SystemExit("crash_peers.py: the states could not be laid out")
    return counts


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--explorer", required=True)
    parser.add_argument("--tool", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workload", metavar="DIRECTORY")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    all_peers = peers(os.path.abspath(arguments.tool))
    try:
        if arguments.workload:
            workload(all_peers[arguments.names[0]], arguments.workload)
            return 0
        return compare(all_peers, arguments)
    finally:
        shutil.rmtree(all_peers["Cairn"].files)


def compare(all_peers, arguments):
    import warnings

    import torch

    warnings.filterwarnings("ignore")
    print(f"torch {torch.__version__}, {SAVES} saves, seed {arguments.seed}")
    print(f"{'':50} {'names':6} {'states':>6} " + " ".join(f"{word:>6}" for word in VERDICTS))
    options = ["--explorer", arguments.explorer, "--tool", arguments.tool]
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    lost = 0
    for name, peer in all_peers.items():
        if arguments.names and name not in arguments.names:
            continue
        with tempfile.TemporaryDirectory(dir=memory) as scratch:
            top, trace, log = (os.path.join(scratch, word) for word in ("top", "trace", "log"))
            os.mkdir(top)
            record(name, options, top, trace)
            for rule in ("strict", "ext4"):
                with open(log, "w") as file:
                    file.write(convert(trace, top, rule))
                counts = judge(peer, arguments.explorer, log, rule, top, scratch, arguments.seed)
                print(f"{name:50} {rule:6} {sum(counts.values()):6} "
                      + " ".join(f"{counts[word]:6}" for word in VERDICTS), flush=True)
                if name == "Cairn":
                    lost += sum(counts.values()) - counts["right"]
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
