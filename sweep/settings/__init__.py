"""The sections of a search space, one file each: frozen models without behaviour."""
