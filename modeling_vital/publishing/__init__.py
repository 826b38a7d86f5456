"""From a folder to the Hub: what is in it, whether it works, one commit, and whether it works from there."""
