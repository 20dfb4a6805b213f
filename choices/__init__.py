"""How settings of the experiments were chosen, without a look at any test image."""
