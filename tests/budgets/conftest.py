"""The vendors on loopback, shared by the tests of prices and of budgets."""

from vendor_fixtures import vendor, vendors  # noqa: F401
