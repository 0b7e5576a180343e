"""The metrics, one class in one file each, beside the functions they are computed by."""
