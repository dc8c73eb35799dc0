"""How fast kdrecipes is: ratios of interleaved medians against stock Keras and hand-written torch. `make bench`."""
