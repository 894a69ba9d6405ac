"""The commands: thin Hydra entry points that read files, call the core and write files."""
