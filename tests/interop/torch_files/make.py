#!/usr/bin/env python3
"""Writes the .pt files that tests/interop/torch_file_test.cc reads, with the torch that runs it.

    make.py DIRECTORY

Makes DIRECTORY/state-VERSION-{zip,legacy}.pt, the same state in both formats, hostile.pt and hostile-legacy.pt,
which call os.system, and expanded.pt, whose tensor repeats one element 2^40 times. They are kept in the repository,
so that the tests need no Python; run this again only to add a version of torch.
"""
import collections
import os
import pickle
import sys

import torch


def train(model):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.125)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    return optimizer


def state():
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = train(model)
    with torch.no_grad():  # numbers that a test can know
        model[0].weight.copy_(torch.arange(6.0).reshape(2, 3))
    base = torch.arange(12.0)
    tied = torch.tensor([1.0, 2.0])
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "lr": 0.5,
        "name": "run",
        "flags": [True, None, 2, "x"],
        "large": 1 << 40,
        "negative": -5,
        "shape": torch.Size([2, 3]),
        "ordered": collections.OrderedDict([("a", 1), ("b", (1.5, b"\x00\xff"))]),
        "tensors": {
            "bf16": torch.arange(4).to(torch.bfloat16),
            "f16": torch.arange(4).to(torch.float16),
            "f64": torch.arange(4).to(torch.float64),
            "i8": torch.arange(-2, 2, dtype=torch.int8),
            "u8": torch.arange(4, dtype=torch.uint8),
            "bool": torch.tensor([True, False]),
            "complex64": torch.tensor([1 + 2j]),
            "empty": torch.zeros(0, 3),
            "scalar": torch.tensor(7),
            "slice": base[3:7],
            "strided": base[::2],
            "transposed": base.view(3, 4).t(),
            "parameter": torch.nn.Parameter(torch.tensor([5.0])),
            "tied_a": tied,
            "tied_b": tied,
            7: torch.tensor([7, 8]),
        },
    }


class Hostile:
    def __reduce__(self):
        return os.system, ("echo this must never run > hostile-was-run",)


def main(directory):
    version = ".".join(torch.__version__.split(".")[:2])
    for name, modern in (("zip", True), ("legacy", False)):
        torch.save(state(), f"{directory}/state-{version}-{name}.pt", _use_new_zipfile_serialization=modern)
    for name, modern in (("hostile", True), ("hostile-legacy", False)):
        torch.save({"weight": torch.ones(2), "boom": Hostile()}, f"{directory}/{name}.pt",
                   _use_new_zipfile_serialization=modern)
    torch.save(torch.ones(1).expand(1 << 40), f"{directory}/expanded.pt")


main(sys.argv[1])
