"""The command `vital`: one module a subcommand, light to import, heavy libraries loaded only by the work itself."""
