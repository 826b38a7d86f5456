"""Scripts that build the training and evaluation data sets."""
