"""Where a rule looks at the deltas of one module: the core, KnOTS and compressed spaces, or the dense matrices."""
