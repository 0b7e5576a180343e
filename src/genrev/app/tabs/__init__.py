"""The tabs of the page: controls, and which function each of them calls."""
