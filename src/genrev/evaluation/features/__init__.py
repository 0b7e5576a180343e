"""What distances are computed in: feature extractors, the classifier, features of references."""
