"""A merge method per file: pure functions, tensors in, tensors out. Their table is in merging/__init__.py."""
