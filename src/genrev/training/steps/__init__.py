"""One step for all methods, and Lightning around it."""
