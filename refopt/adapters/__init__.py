"""Problems and methods in other libraries' forms."""
