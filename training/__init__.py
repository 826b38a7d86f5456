"""Training of VITAL: what makes the weights. Run from a checkout; not part of the wheel."""
