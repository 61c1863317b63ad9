"""The version of this package: that of the server it is released with, the next one while it is developed."""

__version__ = "0.2.0"
