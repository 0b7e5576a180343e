"""Files: writing whole or not at all, locks, and readers that are safe with a stranger's files."""
