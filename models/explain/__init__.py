"""Why a published version answered as it did: weights, rollout, gradients and what each head is worth.

store, input -> version (as the server would load it) -> graph: scores, weights, rollout   `weights`
             -> network from the checkpoint           -> weights × gradient                `gradients`
                                                      -> heads switched off                `ablation`
all of it    -> PNG pictures `figure`, one HTML page `page`
"""
