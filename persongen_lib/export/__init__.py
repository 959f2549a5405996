"""A fine-tuning in the formats of other programs, with its model card."""
