"""Pure torch: knows nothing of scikit-learn, numpy or pandas."""
