"""Images that are read and decoded as they are needed, from data of any size."""
