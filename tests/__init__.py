"""The tests: a package, so that files in different folders may share a name."""
