"""How chains of blocks are run, and what their backward pass recomputes instead of keeping."""
