"""Cards of the models and of the Space, rendered from measured numbers and quoted ones, never typed by hand."""
