"""A trainer that refuses what it is given; it imports no model, since no more than its words is looked at."""

from __future__ import annotations

from stages.errors import UserError


class Refuses:
    """Takes the place of a trainer."""

    def __init__(self, recipe, run) -> None:
        self.holdout = recipe.holdout

    def train(self, work, **options) -> None:
        raise UserError(f"pretrain.holdout: {self.holdout} of these images are none")
