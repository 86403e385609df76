#!/usr/bin/env python3
"""Writes the checkpoint that tests/cli/import_export_test.cc imports, with SpeechBrain's own Checkpointer.

    make.py DIRECTORY

Makes DIRECTORY/CKPT+epoch-2: a model, its optimizer, a counter of epochs, a schedule, and metadata. Kept in the
repository, so that the tests need no Python. The one there is of SpeechBrain 1.1.2 with torch 2.13.
"""
import sys

import torch
from speechbrain.utils.checkpoints import Checkpointer, register_checkpoint_hooks, mark_as_saver
from speechbrain.utils.epoch_loop import EpochCounter
import yaml


@register_checkpoint_hooks
class Progress:
    """Saves as speechbrain.core.Brain does."""

    @mark_as_saver
    def save(self, path):
        with open(path, "w", encoding="utf-8") as file:
            file.write(yaml.dump({"step": 12, "avg_train_loss": 0.25, "optimizer_step": 3}))


model = torch.nn.Linear(3, 2)
optimizer = torch.optim.Adam(model.parameters(), lr=0.125)
model(torch.ones(4, 3)).sum().backward()
optimizer.step()
with torch.no_grad():  # numbers that a test can know
    model.weight.copy_(torch.arange(6.0).reshape(2, 3))
    model.bias.copy_(torch.tensor([6.0, 7.0]))
epochs = EpochCounter(10)
next(epochs), next(epochs)
Checkpointer(
    sys.argv[1],
    recoverables={"model": model, "opt": optimizer, "epochs": epochs, "brain": Progress()},
).save_checkpoint(
    meta={
        "loss": 15.5,
        "tiny": 1e-05,
        "validation-type": "fast",
        "num-examples": 3,
        "looks-like-a-number": "3",
        "none": None,
        "sizes": [1, 2.5, "x", {"deep": True}],
        "text": "a text that is longer than the eighty columns at which yaml.dump folds its lines, to see that",
    },
    name="epoch-2",
)
