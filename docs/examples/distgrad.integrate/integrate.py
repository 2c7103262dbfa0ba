"""Examples of distgrad.integrate."""

from distgrad import integrate

# Examples

# METHODS: what `method=` takes
sorted(integrate.METHODS)
