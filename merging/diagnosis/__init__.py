"""What can be said of a merge before it is made: likeness, conflicts, spectrum, cost."""
