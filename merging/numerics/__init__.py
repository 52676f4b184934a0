"""The linear algebra of low-rank deltas, on tensors alone: sums, truncation, selection, and errors of the result."""
