"""Pure readers, one file per wire format."""
