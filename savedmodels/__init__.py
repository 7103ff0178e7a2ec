"""The contract between training and serving: signatures, and versions on disk."""
