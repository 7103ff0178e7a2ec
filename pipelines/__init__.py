"""The whole way as commands: `python -m pipelines.<verb>`."""
