"""What stands against merging, folding or converting an adapter, from configurations and headers alone."""
