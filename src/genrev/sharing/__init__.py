"""What models are shared with: the hub, their cards, and care with files of strangers."""
