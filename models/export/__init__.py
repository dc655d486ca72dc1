"""From a finished training to a published version: load, export, verify, publish.

    checkpoint -> export -> candidate -> verify -> verified candidate -> publish -> <store>/<model>/<version>/
                            candidate -> quantise -> candidate with int8 graphs, to be verified like any other

Each step reads what the one before it left on disk and nothing else, so that each can be run again by itself.
"""
