"""The backings of the store interfaces, one package each."""
