"""The machine every estimator stands on; nothing here is public."""
