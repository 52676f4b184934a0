"""What becomes of a batch's scores before they are rewards: brought to one scale, cut off, charged for no end."""

from dataclasses import dataclass

import torch

DEVIATION_FLOOR = 1e-4


@dataclass
class RunningScores:
    """Mean and variance of all scores so far, taken up batch by batch (Chan et al. 1979, as Welford's method).

    Attributes:
        count: scores seen.
        mean: of them.
        squares: sum of squared deviations from the mean.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @property
    def deviation(self) -> float:
        """Population standard deviation; 0 before the second score."""
        return (self.squares / self.count) ** 0.5 if self.count else 0.0

    def add(self, scores_N: torch.Tensor) -> None:
        """Take a batch up."""
        scores_N = scores_N.double()
        count, mean = len(scores_N), float(scores_N.mean())
        squares = float(((scores_N - mean) ** 2).sum())
        total, gap = self.count + count, mean - self.mean
        self.squares += squares + gap**2 * self.count * count / total
        self.mean += gap * count / total
        self.count = total

    def normalised(self, scores_N: torch.Tensor) -> torch.Tensor:
        """(score - mean) / deviation by what has been seen; a batch should be added first."""
        return (scores_N - self.mean) / max(self.deviation, DEVIATION_FLOOR)


def clipped_scores(scores_N: torch.Tensor, limit: float | None) -> torch.Tensor:
    """Scores within ±limit; unchanged where it is None."""
    return scores_N if limit is None else scores_N.clamp(-limit, limit)


def charge_missing_end(scores_N: torch.Tensor, has_end_N: torch.Tensor, penalty: float | None) -> torch.Tensor:
    """Scores less `penalty` where the answer did not end by itself; unchanged where it is None."""
    return scores_N if penalty is None else torch.where(has_end_N, scores_N, scores_N - penalty)
