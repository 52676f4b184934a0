"""The trainers there are. One more: a file with `train(options, work)`, an options class and a line here."""

import importlib
from dataclasses import dataclass
from typing import Any

from medley.lm.quiet import silence_proposals
from trainers.options import SFTOptions
from trainers.work import TrainResult, TrainWork


@dataclass(frozen=True)
class Trainer:
    """A row of the table.

    Attributes:
        name: as on the command line.
        goal: what a person wants who takes it, in their words.
        data_kind: the kind of dataset it learns from ("sft" or "preference").
        options_class: its frozen options dataclass.
        module: where its `train` lives; imported when training starts.
    """

    name: str
    goal: str
    data_kind: str
    options_class: type
    module: str

    def train(self, options: Any, work: TrainWork) -> TrainResult:
        """Run it to the end, to a stop or to an error; see `TrainWork` and `TrainResult`."""
        silence_proposals()
        return importlib.import_module(self.module).train(options, work)


TRAINERS: dict[str, Trainer] = {
    "sft": Trainer("sft", "Teach by examples", "sft", SFTOptions, "trainers.sft"),
}
