"""One TFDS builder per data set: every module without an underscore is one."""
