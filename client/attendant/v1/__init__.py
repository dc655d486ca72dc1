"""Generated messages and stubs of the package attendant.v1."""
