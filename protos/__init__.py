"""The .proto files of the wire, and the command that turns them into Python modules."""
