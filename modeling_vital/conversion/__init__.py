"""Released weights of other layouts to ours: one module a layout, pure functions of names and tensors."""
