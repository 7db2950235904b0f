"""Where each vendor's SDK is hooked, and which provider a client speaks to."""
