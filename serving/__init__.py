"""Versions on disk to answers, over the gRPC and REST API of TF Serving."""
