"""What lies on disk: storages (roots), repositories in them, temporary and quarantine directories, locked files.

A path inside a storage is a ``pathlib.Path`` of the ``os.fsdecode`` form, which keeps every byte.
"""
