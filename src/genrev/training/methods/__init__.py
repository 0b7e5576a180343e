"""Methods of training, one file each; ``METHODS`` in ``method.py`` names them."""
