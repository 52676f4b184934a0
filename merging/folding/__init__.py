"""Adapters folded into their base: a full model, streamed tensor by tensor."""
