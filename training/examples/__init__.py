"""Quality as a loss and as a reward in training of other models."""
