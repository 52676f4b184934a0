"""A plain LoRA from an adapter of another PEFT type."""
