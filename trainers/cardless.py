"""No README.md beside a checkpoint: what is published gets its card from the registry."""

from typing import Any


class Cardless:
    """Stands before a TRL trainer among its parents: neither TRL nor peft writes a card with every checkpoint.

    For each of the two a template is compiled and every installed package is looked at, which takes longer than the
    weights themselves.
    """

    model: Any

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.model.create_or_update_model_card = write_nothing

    def create_model_card(self, *arguments: Any, **named: Any) -> None:
        """Nothing is written."""


def write_nothing(output_dir: str) -> None:
    """Takes the place of peft's method of the same arguments."""
