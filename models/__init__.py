"""memberstream's pure core: member documents, predictors, probabilities, clusters, model files.

Nothing here reads a clock, a disk, a network or the environment; time enters as an argument (`now_ms`).
One definition of every predictor and model serves the notebook, the command line and the stream.
"""
