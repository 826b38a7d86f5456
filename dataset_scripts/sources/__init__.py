"""Where source pictures and clips come from."""
