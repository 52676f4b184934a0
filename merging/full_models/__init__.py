"""Recipes of full models: checked from headers, merged with mergekit's arithmetic, reported."""
