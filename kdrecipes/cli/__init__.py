"""The command line: one file a verb; stdout is the result, stderr progress and problems.

It imports `runs` and all below; torch and Keras only once a verb needs them. Nobody imports it.
Its neighbour below is `runs`, which does the work.
"""
