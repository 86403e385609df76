#!/usr/bin/env python3
"""Saves states with the torch that runs it, imports them, and compares every tensor: compare.py TOOL [SEEDS]

TOOL is the program cairn. A state is a model (embedding tied to the last layer, LSTM, attention, convolution, batch
norm), an optimizer with its state, a scheduler's, views of shared storage, and a tensor of every dtype that this torch
can save; in both formats, in the pickle protocols 2 to 4. Exit code: 0 all equal, 1 not, 77 without torch.
"""
import collections
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile

try:
    warnings.filterwarnings("ignore")
    import torch
except ModuleNotFoundError:
    print("skipped: this Python has no torch")
    sys.exit(77)

NAMES = {
    "bool": "bool", "uint8": "u8", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "float16": "f16",
    "bfloat16": "bf16", "float32": "f32", "float64": "f64", "complex64": "c64", "complex128": "c128", "uint16": "u16",
    "uint32": "u32", "uint64": "u64", "float8_e5m2": "f8_e5m2", "float8_e4m3fn": "f8_e4m3fn",
}
DTYPES = {getattr(torch, name): ours for name, ours in NAMES.items() if hasattr(torch, name)}


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(20, 8)
        self.lstm = torch.nn.LSTM(8, 8, 2)
        self.attention = torch.nn.TransformerEncoderLayer(8, 2, 16)
        self.convolution = torch.nn.Conv1d(8, 4, 3)
        self.norm = torch.nn.BatchNorm1d(4)
        self.out = torch.nn.Linear(8, 20)
        self.out.weight = self.embedding.weight  # tied

    def forward(self, words):
        hidden = self.attention(self.lstm(self.embedding(words))[0])
        return self.out(hidden).sum() + self.norm(self.convolution(hidden.permute(1, 2, 0))).sum()


def state(seed):
    torch.manual_seed(seed)
    model = Model()
    optimizer = [
        lambda: torch.optim.AdamW(model.parameters(), lr=0.01, amsgrad=True),
        lambda: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        lambda: torch.optim.RMSprop(model.parameters()),
    ][seed % 3]()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randint(0, 20, (5, 3))).backward()
        optimizer.step()
        scheduler.step()
    base = torch.randn(6, 7, 8)
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": {key: value for key, value in scheduler.state_dict().items() if not callable(value)},
        "views": {
            "whole": base, "slice": base[1:4], "inner": base[:, 2:5, 1], "steps": base[::2, ::3],
            "transposed": base.transpose(0, 2), "expanded": base[0, 0].expand(3, 8), "scalar": base[1, 2, 3],
            "diagonal": base[0, :, :7].diagonal(), "narrow": base.view(-1)[5:99], "empty": base[3:3],
            "large": torch.randn(513, 700).t(),
        },
        "dtypes": {ours: torch.arange(6).reshape(2, 3).to(dtype) for dtype, ours in DTYPES.items()},
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "list": [torch.ones(2), {"deep": torch.zeros(1, 0, 2)}],
        "ordered": collections.OrderedDict(tensor=torch.tensor(5), number=1.5),
        "random": torch.get_rng_state(),
        "epoch": seed,
    }


def flat(value, path, out):
    if isinstance(value, torch.Tensor):
        out[path] = value
        return out
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, item in pairs:
        flat(item, f"{path}.{key}" if path else str(key), out)
    return out


def bytes_of(tensor):
    """In C order, whatever its strides."""
    tensor = tensor.detach().contiguous().clone().reshape(-1)
    if tensor.numel() == 0:
        return b""
    return bytes(tensor.view(torch.uint8).tolist())


def arrays(path):
    """The bytes of every array of a .npz file."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            yield name[: -len(".npy")], data[10 + struct.unpack_from("<H", data, 8)[0] :]


def main(tool, seeds):
    compared, problems = 0, 0
    with tempfile.TemporaryDirectory() as directory:
        place = pathlib.Path(directory)

        def cairn(*words):
            return subprocess.run([tool, *map(str, words)], check=True, stdout=subprocess.PIPE).stdout

        for seed in range(seeds):
            saved = state(seed)
            want = flat(saved, "", {})
            for modern, protocol in ((m, p) for m in (True, False) for p in (2, 3, 4)):
                torch.save(saved, place / "x.pt", _use_new_zipfile_serialization=modern, pickle_protocol=protocol)
                cairn("import", place / "store", place / "x.pt")
                cairn("export", place / "store", "latest", place / "x.npz")
                shown = json.loads(cairn("show", place / "store", "latest", "--json"))["recoverables"][0]
                kinds = {each["name"]: (each["dtype"], each["shape"]) for each in shown["tensors"]}
                got = dict(arrays(place / "x.npz"))
                for name in sorted(want.keys() | got.keys()):
                    compared += 1
                    same = (name in want and name in got and got[name] == bytes_of(want[name])
                            and kinds[name] == (DTYPES[want[name].dtype], list(want[name].shape)))
                    if not same:
                        problems += 1
                        print(f"seed {seed}, {'zip' if modern else 'legacy'}, protocol {protocol}: {name} differs")
                if shown["values"]["epoch"] != seed or shown["values"]["ordered.number"] != 1.5:
                    problems += 1
                    print(f"seed {seed}: the values differ: {shown['values']}")
    print(f"torch {torch.__version__}: {compared} tensors compared, {problems} problems")
    return 1 if problems or compared == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1))
