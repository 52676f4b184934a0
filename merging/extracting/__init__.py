"""An adapter from two full models: what one differs from the other by, at low rank."""
