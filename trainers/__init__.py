"""Dataset to trained Keras model: every module without an underscore is a model."""
