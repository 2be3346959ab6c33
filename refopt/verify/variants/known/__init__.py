"""The deviations, by where they change a method; every module here is read by `known`."""
