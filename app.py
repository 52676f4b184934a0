"""Builds the pages and launches; also the entry of a Hugging Face Space."""
