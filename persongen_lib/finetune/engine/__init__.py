"""The training loop and what fine-tuning methods ask of it."""
